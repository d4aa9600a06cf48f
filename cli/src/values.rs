//! What a single argument may be.

use std::str::FromStr;
use std::time::Duration;

use lessee_engine::lease::table::CAPACITY;
use lessee_engine::lease::{BroadcastFlag, ClientIdentifier};
use lessee_engine::pace::Window;
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::vlan::VlanStack;

/// A number of leases.
pub(crate) fn leases(text: &str) -> Result<u32, String> {
    match text.replace('_', "").parse::<u64>() {
        Ok(0) => Err("0 leases is nothing to do; ask for at least 1".to_owned()),
        Ok(number) if number > u64::from(CAPACITY) => {
            Err(format!("one process holds at most {CAPACITY} leases; run several"))
        }
        Ok(number) => Ok(number as u32),
        Err(_) => Err(format!("a whole number from 1 to {CAPACITY} is wanted")),
    }
}

/// A rate or a window.
fn positive(text: &str, what: &str) -> Result<u32, String> {
    match text.replace('_', "").parse::<u32>() {
        Ok(0) | Err(_) => Err(format!("{what} is a whole number from 1 on")),
        Ok(number) => Ok(number),
    }
}

/// New exchanges a second.
pub(crate) fn rate(text: &str) -> Result<u32, String> {
    positive(text, "a rate (new leases a second)")
}

/// Exchanges in flight.
pub(crate) fn window(text: &str) -> Result<Window, String> {
    match text {
        "auto" => Ok(Window::Auto),
        "none" => Ok(Window::Unlimited),
        _ => positive(text, "a window is `auto`, `none`, or")
            .map(Window::Fixed)
            .map_err(|_| "a window is `auto`, `none`, or a whole number from 1 on".to_owned()),
    }
}

/// A time of more than nothing, as people write it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("a time longer than 0 is wanted".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(format!("{error}; write a time like 3s, 90s, 10m or 2h")),
    }
}

/// How long leases are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Until a signal comes.
    Forever,
    /// For this long after the last one was bound.
    For(Duration),
}

impl FromStr for Hold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        // Zero makes sense here: bind and release.
        humantime::parse_duration(text)
            .map(Self::For)
            .map_err(|error| format!("{error}; write `forever`, or a time like 0s, 90s or 2h"))
    }
}

/// `VID` or `VID.VID`.
pub(crate) fn vlans(text: &str) -> Result<VlanStack, String> {
    let vid = |text: &str| text.parse::<u16>().ok().filter(|vid| (1..=4094).contains(vid));
    let stack = match text.split_once('.') {
        None => vid(text).and_then(|vid| VlanStack::single(vid, 0)),
        Some((outer, inner)) => {
            vid(outer).zip(vid(inner)).and_then(|(outer, inner)| VlanStack::double(outer, inner, 0))
        }
    };
    stack.ok_or_else(|| {
        "a VLAN is a number from 1 to 4094, or two of them (outer.inner) for QinQ, like 100.20"
            .to_owned()
    })
}

/// A MAC that a client may have.
pub(crate) fn mac(text: &str) -> Result<Mac, String> {
    let mac: Mac = text.parse().map_err(|error| format!("{error}"))?;
    if mac.is_multicast() {
        return Err("a multicast address cannot be a client's own: the first byte must be even, \
                    as in 02:00:00:00:00:01"
            .to_owned());
    }
    if mac == Mac::ZERO {
        return Err("an address of zeros cannot be a client's own".to_owned());
    }
    Ok(mac)
}

/// A hostname, maybe with `{i}` in it. Its length is judged once the number is known.
pub(crate) fn hostname(text: &str) -> Result<String, String> {
    match text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        Some(wrong) => Err(format!(
            "a hostname has no spaces or control characters, and this has {wrong:?}: servers \
             refuse it, drop it, or break their lease files with it"
        )),
        None => Ok(text.to_owned()),
    }
}

/// Option 61: `mac`, `none`, or bytes in hexadecimal.
pub(crate) fn client_id(text: &str) -> Result<ClientIdentifier, String> {
    match text {
        "mac" => return Ok(ClientIdentifier::Mac),
        "none" => return Ok(ClientIdentifier::None),
        _ => {}
    }
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-')).collect();
    let wrong = || {
        "a client identifier is `mac`, `none`, or 2 to 255 bytes in hexadecimal, its type byte \
         first, like 00:68:6f:73:74 or 01020000000001"
            .to_owned()
    };
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return Err(wrong());
    }
    let pairs = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    let bytes: Vec<u8> = pairs.collect::<Result<_, _>>().map_err(|_| wrong())?;
    if (2..=255).contains(&bytes.len()) {
        Ok(ClientIdentifier::Bytes(bytes.into()))
    } else {
        Err(wrong())
    }
}

/// When to ask for broadcast answers.
pub(crate) fn broadcast(text: &str) -> Result<BroadcastFlag, String> {
    match text {
        "auto" => Ok(BroadcastFlag::Auto),
        "always" => Ok(BroadcastFlag::Always),
        "never" => Ok(BroadcastFlag::Never),
        _ => Err("auto, always or never is wanted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_are_one_or_two_numbers_in_range() {
        assert_eq!(vlans("100").unwrap(), VlanStack::single(100, 0).unwrap());
        assert_eq!(vlans("100.20").unwrap(), VlanStack::double(100, 20, 0).unwrap());
        for wrong in ["", "0", "4095", "1.0", "1.2.3", "a", "1.", "-1", "65636"] {
            assert!(vlans(wrong).unwrap_err().contains("1 to 4094"), "{wrong}");
        }
    }

    #[test]
    fn client_identifiers_are_bytes() {
        let bytes = |bytes: &[u8]| ClientIdentifier::Bytes(bytes.into());
        assert_eq!(client_id("mac").unwrap(), ClientIdentifier::Mac);
        assert_eq!(client_id("none").unwrap(), ClientIdentifier::None);
        assert_eq!(client_id("00:0a:Ff").unwrap(), bytes(&[0, 10, 255]));
        assert_eq!(client_id("000a").unwrap(), bytes(&[0, 10]));
        let long = "00".repeat(256);
        for wrong in ["", "0", "00", "000", "0g00", "é", &long] {
            assert!(client_id(wrong).unwrap_err().contains("2 to 255"), "{wrong}");
        }
    }

    #[test]
    fn windows_holds_and_counts() {
        assert_eq!(window("auto").unwrap(), Window::Auto);
        assert_eq!(window("none").unwrap(), Window::Unlimited);
        assert_eq!(window("64").unwrap(), Window::Fixed(64));
        assert!(window("0").is_err() && window("x").is_err());
        assert_eq!("forever".parse::<Hold>().unwrap(), Hold::Forever);
        assert_eq!("0s".parse::<Hold>().unwrap(), Hold::For(Duration::ZERO));
        assert!("never".parse::<Hold>().is_err());
        assert_eq!(leases("10_000").unwrap(), 10_000);
        assert!(leases("0").unwrap_err().contains("at least 1"));
        assert!(leases("3000000").unwrap_err().contains("at most"));
        assert!(duration("0s").is_err() && duration("3").is_err());
        assert_eq!(hostname("host-{i}").unwrap(), "host-{i}");
        for wrong in ["a b", "a\tb", "a\nb", "a\u{1b}[0m", "a\u{a0}b", "\u{7f}"] {
            assert!(hostname(wrong).unwrap_err().contains("no spaces"), "{wrong:?}");
        }
        assert!(mac("01:00:00:00:00:01").unwrap_err().contains("multicast"));
    }
}
