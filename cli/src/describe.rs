//! Options and terms, for people and for JSON.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use lessee_engine::lease::Terms;
use lessee_engine::lease::timing::INFINITE;
use lessee_engine::wire::names::{self, Value, describe};
use lessee_engine::wire::options::{OptionSet, code};
use serde::Serialize;
use serde_json::json;

/// An option in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct OptionView {
    code: u8,
    name: String,
    /// Of the type that the option has: number, text, list of addresses …
    value: serde_json::Value,
    /// The value contradicts the option's format and is shown as bytes in hexadecimal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    malformed: bool,
}

/// All options in JSON, by code.
pub(crate) fn views(options: &OptionSet) -> Vec<OptionView> {
    let view = |(code, value): (u8, &[u8])| {
        let described = describe(code, value);
        OptionView {
            code,
            name: described.name.into_owned(),
            value: to_json(&described.value),
            malformed: described.malformed,
        }
    };
    options.iter().map(view).collect()
}

/// A value in JSON's own types where it has any, else as people read it.
fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Present => json!(true),
        Value::Boolean(flag) => json!(flag),
        Value::Number(number) => json!(number),
        Value::Signed(number) => json!(number),
        Value::Numbers(numbers) => json!(numbers),
        Value::Address(address) => json!(address),
        Value::Addresses(addresses) => json!(addresses),
        Value::Text(text) => json!(text),
        Value::Texts(list) | Value::Names(list) => json!(list),
        Value::Routes(routes) => json!(routes.iter().map(ToString::to_string).collect::<Vec<_>>()),
        Value::Codes(codes) => json!(codes.iter().map(|(code, _)| code).collect::<Vec<_>>()),
        other => json!(other.to_string()),
    }
}

/// All options as indented lines for people; those that `skip` names are left out.
pub(crate) fn lines(options: &OptionSet, skip: &[u8]) -> Vec<String> {
    let shown = options.iter().filter(|(code, _)| !skip.contains(code));
    shown
        .map(|(code, value)| {
            let described = describe(code, value);
            let mark = if described.malformed { " (malformed)" } else { "" };
            let value = match described.value {
                Value::Number(seconds) if is_time(code) => lasting(Some(seconds)),
                value => value.to_string(),
            };
            format!("    {:<24} {value}{mark}", described.name)
        })
        .collect()
}

const fn is_time(option: u8) -> bool {
    matches!(option, code::LEASE_TIME | code::RENEWAL_TIME | code::REBINDING_TIME)
}

/// A number of seconds as people say it; nothing is for ever.
pub(crate) fn lasting(seconds: Option<u64>) -> String {
    match seconds {
        None => "infinite".to_owned(),
        Some(seconds) if seconds == u64::from(INFINITE) => "infinite".to_owned(),
        Some(seconds) => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

/// The addresses of an option that holds addresses.
pub(crate) fn addresses(options: &OptionSet, code: u8) -> Vec<Ipv4Addr> {
    let value = options.get(code).unwrap_or_default();
    value.chunks_exact(4).map(|four| Ipv4Addr::new(four[0], four[1], four[2], four[3])).collect()
}

/// A number of four bytes.
pub(crate) fn number(options: &OptionSet, code: u8) -> Option<u32> {
    let bytes: [u8; 4] = options.get(code)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// The length of the subnet mask (option 1), if it is one.
pub(crate) fn prefix(options: &OptionSet) -> Option<u8> {
    let mask = number(options, code::SUBNET_MASK)?;
    (mask.leading_ones() + mask.trailing_zeros() == 32).then(|| mask.leading_ones() as u8)
}

/// The default routers: those of option 121 if there is one (RFC 3442), else of option 3.
pub(crate) fn routers(options: &OptionSet) -> Vec<Ipv4Addr> {
    match options.get(code::CLASSLESS_ROUTE).map(names::classless_routes) {
        Some(Ok(routes)) => {
            routes.filter(|route| route.prefix == 0).map(|route| route.via).collect()
        }
        _ => addresses(options, code::ROUTER),
    }
}

/// `10.0.0.5/24`, or the address alone.
pub(crate) fn with_prefix(address: Ipv4Addr, prefix: Option<u8>) -> String {
    prefix.map_or_else(|| address.to_string(), |prefix| format!("{address}/{prefix}"))
}

/// A list for people.
pub(crate) fn list(addresses: &[Ipv4Addr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

/// What was granted, in JSON. Times are `null` where there is no end.
#[derive(Debug, Serialize)]
pub(crate) struct TermsView {
    address: Ipv4Addr,
    prefix: Option<u8>,
    server: Ipv4Addr,
    server_mac: String,
    routers: Vec<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    lease_seconds: Option<u32>,
    t1_seconds: Option<f64>,
    t2_seconds: Option<f64>,
    options: Vec<OptionView>,
}

impl TermsView {
    pub(crate) fn new(terms: &Terms, options: Option<&OptionSet>) -> Self {
        let schedule = terms.schedule();
        let seconds = |time: Option<Duration>| time.map(|time| time.as_millis() as f64 / 1e3);
        Self {
            address: terms.address,
            prefix: terms.prefix,
            server: terms.server_id,
            server_mac: terms.server_mac.to_string(),
            routers: options.map(routers).unwrap_or_default(),
            dns: options.map(|o| addresses(o, code::DOMAIN_NAME_SERVER)).unwrap_or_default(),
            lease_seconds: (terms.lease_time != INFINITE).then_some(terms.lease_time),
            t1_seconds: seconds(schedule.t1),
            t2_seconds: seconds(schedule.t2),
            options: options.map(views).unwrap_or_default(),
        }
    }

    /// On one line for people.
    pub(crate) fn line(&self) -> String {
        let whole = |time: Option<f64>| lasting(time.map(|seconds| seconds.round() as u64));
        let router = match self.routers.as_slice() {
            [] => "no router".to_owned(),
            routers => format!("router {}", list(routers)),
        };
        format!(
            "{} from {}, {router}, lease {}, T1 {}, T2 {}",
            with_prefix(self.address, self.prefix),
            self.server,
            lasting(self.lease_seconds.map(u64::from)),
            whole(self.t1_seconds),
            whole(self.t2_seconds)
        )
    }
}

/// The time of day in RFC 3339.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        assert_eq!(lasting(Some(3150)), "52m 30s");
        assert_eq!(lasting(Some(u64::from(INFINITE))), "infinite");
        assert_eq!(lasting(None), "infinite");
    }

    #[test]
    fn values_keep_their_types_in_json() {
        let addresses = vec![Ipv4Addr::new(192, 0, 2, 1)];
        assert_eq!(to_json(&Value::Addresses(addresses)), json!(["192.0.2.1"]));
        assert_eq!(to_json(&Value::Number(5)), json!(5));
        assert_eq!(to_json(&Value::Hex(vec![1, 0xff])), json!("01:ff"));
        assert_eq!(now().len(), "2026-01-01T00:00:00.000Z".len());
    }
}
