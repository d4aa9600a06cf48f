//! The table of the machine: every state, every input.

use super::*;

/// What can happen to a lease, in the order of the columns below.
#[derive(Clone, Copy, Debug)]
enum Input {
    Offer,
    Ack,
    Nak,
    /// The deadline of the state, or, where it has none, a day.
    Timeout,
    Release,
    Forget,
    Renew,
    /// The next hop's ARP reply.
    ArpReply,
}

const INPUTS: [Input; 8] = [
    Input::Offer,
    Input::Ack,
    Input::Nak,
    Input::Timeout,
    Input::Release,
    Input::Forget,
    Input::Renew,
    Input::ArpReply,
];

/// What an input does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Nothing at all, not even a name for it.
    Nothing,
    /// Ignored for this reason.
    Ignored(Ignored),
    /// The state with this name comes.
    Goes(&'static str),
    /// The state stays, and this is sent next.
    Sends(Due),
}
use Does::{Goes, Nothing, Sends};

const UNEXPECTED: Does = Does::Ignored(Ignored::Unexpected);
const LATE: Does = Does::Ignored(Ignored::LateOffer);
const DUPLICATE: Does = Does::Ignored(Ignored::DuplicateAck);
const DISCOVER: Does = Sends(Due::Discover);

/// The table. No `_`: who adds a state says here what it does.
#[rustfmt::skip]
fn row(state: &State) -> [Does; 8] {
    match state {
        //                           OFFER               ACK              NAK              timeout              release            forget            renew              ARP
        State::Init =>              [UNEXPECTED,         UNEXPECTED,      UNEXPECTED,      DISCOVER,            Goes("RELEASED"),  Goes("RELEASED"), Nothing,           Nothing],
        State::Selecting { .. } =>  [Goes("REQUESTING"), UNEXPECTED,      UNEXPECTED,      DISCOVER,            Goes("RELEASED"),  Goes("RELEASED"), Nothing,           Nothing],
        State::Requesting { .. } => [LATE,               Goes("BOUND"),   Goes("INIT"),    Sends(Due::Request), Nothing,           Goes("RELEASED"), Nothing,           Nothing],
        State::Bound { .. } =>      [LATE,               DUPLICATE,       UNEXPECTED,      Goes("RENEWING"),    Goes("RELEASING"), Goes("RELEASED"), Goes("RENEWING"),  Nothing],
        State::Renewing { .. } =>   [UNEXPECTED,         Goes("BOUND"),   Goes("INIT"),    Sends(Due::ResolveHop(SERVER_ID)), Goes("RELEASING"), Goes("RELEASED"), Nothing, Nothing],
        State::Rebinding { .. } =>  [UNEXPECTED,         Goes("BOUND"),   Goes("INIT"),    Sends(Due::Rebind),  Goes("RELEASING"), Goes("RELEASED"), Nothing,           Nothing],
        State::Releasing { .. } =>  [UNEXPECTED,         UNEXPECTED,      UNEXPECTED,      Goes("RELEASED"),    Nothing,           Goes("RELEASED"), Nothing,           Nothing],
        State::Waiting { .. } =>    [UNEXPECTED,         UNEXPECTED,      UNEXPECTED,      Goes("INIT"),        Goes("RELEASED"),  Goes("RELEASED"), Nothing,           Nothing],
        State::Released =>          [UNEXPECTED,         UNEXPECTED,      UNEXPECTED,      Nothing,             Nothing,           Nothing,          Nothing,           Nothing],
    }
}

/// A state's name and how it is come by.
type Way = (&'static str, fn(Rig) -> Rig);

const WAYS: [Way; 9] = [
    ("INIT", |rig| rig),
    ("SELECTING", Rig::selecting),
    ("REQUESTING", Rig::requesting),
    ("BOUND", Rig::bound),
    ("RENEWING", Rig::renewing),
    ("REBINDING", Rig::rebinding),
    ("RELEASING", Rig::releasing),
    ("WAITING", Rig::waiting),
    ("RELEASED", Rig::released),
];

fn feed(rig: &mut Rig, input: Input) -> Result<(), Ignored> {
    match input {
        Input::Offer => return rig.hear(MessageType::Offer).map(|_| ()),
        Input::Ack => return rig.hear(MessageType::Ack).map(|_| ()),
        Input::Nak => return rig.hear(MessageType::Nak).map(|_| ()),
        Input::Timeout => {
            let day = Duration::from_secs(24 * 3600);
            rig.go(rig.machine.poll_timeout(rig.now).unwrap_or(rig.now + day));
        }
        Input::Release => rig.machine.release(),
        Input::Forget => rig.machine.forget(),
        Input::Renew => rig.machine.renew(rig.now),
        Input::ArpReply => {
            let arp = Arp::request(CLIENT, ADDRESS, SERVER_ID).answer(SERVER);
            rig.machine.handle_arp(&arp, rig.now);
        }
    }
    Ok(())
}

#[test]
fn every_input_in_every_state_does_what_the_table_says() {
    for (name, way) in WAYS {
        for (column, input) in INPUTS.into_iter().enumerate() {
            let mut rig = way(Rig::new(1));
            assert_eq!(rig.state(), name);
            let before = *rig.machine.state();
            let due_before = rig.machine.due(rig.now);
            let told = feed(&mut rig, input);
            let context = format!("{name}, {input:?}: {:?}", rig.machine.state());
            match row(&before)[column] {
                Nothing => {
                    assert_eq!(told, Ok(()), "{context}");
                    assert_eq!(*rig.machine.state(), before, "{context}");
                    assert_eq!(rig.machine.due(rig.now), due_before, "{context}");
                }
                Does::Ignored(reason) => {
                    assert_eq!(told, Err(reason), "{context}");
                    assert_eq!(*rig.machine.state(), before, "{context}");
                }
                Goes(next) => {
                    assert_eq!(told, Ok(()), "{context}");
                    assert_eq!(rig.state(), next, "{context}");
                }
                Sends(due) => {
                    assert_eq!(told, Ok(()), "{context}");
                    assert_eq!(rig.state(), name, "{context}");
                    assert_eq!(rig.machine.due(rig.now), Some(due), "{context}");
                }
            }
        }
    }
}

#[test]
fn each_state_sends_its_own_message_and_moves_on() {
    let sent = |mut rig: Rig| rig.send().dhcp().kind;
    let due = |rig: &Rig| rig.machine.due(rig.now);
    assert_eq!(sent(Rig::new(1)), MessageType::Discover);
    for (name, way) in WAYS {
        let mut rig = way(Rig::new(1));
        match rig.machine.state() {
            State::Init => assert_eq!(due(&rig), Some(Due::Discover)),
            State::Releasing { .. } => {
                assert_eq!(due(&rig), Some(Due::Release));
                rig.send();
                assert_eq!(rig.state(), "RELEASED");
            }
            // Each of these has sent what it had to.
            State::Selecting { .. }
            | State::Requesting { .. }
            | State::Bound { .. }
            | State::Renewing { .. }
            | State::Rebinding { .. }
            | State::Waiting { .. }
            | State::Released => {
                assert_eq!(due(&rig), None, "{name}");
                assert!(rig.machine.poll_transmit(rig.now, 5).is_none(), "{name}");
            }
        }
    }
}

#[test]
fn a_stale_answer_of_the_last_exchange_extends_nothing() {
    // The exchange that bound the lease had a second ACK on its way.
    let mut rig = Rig::new(1).bound();
    let stale = rig.answer(MessageType::Ack);
    rig.sleep();
    assert_eq!(rig.state(), "RENEWING");
    assert_eq!(rig.take(&stale), Err(Ignored::Unexpected));
    rig.send();
    assert_eq!(rig.take(&stale), Err(Ignored::UnknownXid));
    // The answer to a renewal comes when T2 has passed.
    let stale = rig.answer(MessageType::Ack);
    rig.go(rig.terms().t2().unwrap());
    assert_eq!(rig.state(), "REBINDING");
    assert_eq!(rig.take(&stale), Err(Ignored::Unexpected));
    rig.send();
    assert_eq!(rig.take(&stale), Err(Ignored::UnknownXid));
    assert!(rig.hear(MessageType::Ack).is_ok());
}

#[test]
fn a_probe_looks_at_offers_and_takes_none() {
    let mut rig = Rig::with(Acquire { probe: true, ..acquire() }, 1).selecting();
    for _ in 0..20 {
        assert_eq!(rig.hear(MessageType::Offer), Ok(Outcome::Probed));
        rig.sleep();
        assert_eq!(rig.send().dhcp().kind, MessageType::Discover);
    }
    assert!(!rig.machine.has_news());
}

#[test]
fn a_lease_keeps_to_its_share_of_memory() {
    // Requirement Q2 is 192 bytes for the bare lease, indexes included.
    assert!(size_of::<Machine>() <= 192, "{}", size_of::<Machine>());
}
