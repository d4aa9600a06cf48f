//! The server answers ARP, and, where it is told to, asks before it unicasts.

use lessee_engine::wire::arp::Operation;

use super::*;

#[test]
fn arp_for_the_servers_address_is_answered() {
    let mut net = Net::new(spec());
    let link = Link { destination: Mac::BROADCAST, source: mac(1), vlans: VlanStack::NONE };
    for (asker, target, answered) in [
        (ip(10), SERVER, true),
        (UNSET, SERVER, true),
        (ip(10), ip(11), false),
        (SERVER, SERVER, false),
    ] {
        let arp = Arp::request(mac(1), asker, target);
        net.hand_in(&Transmit { link, body: TransmitBody::Arp(arp) });
        match net.drain()[..] {
            [Out::Arp(link, reply)] if answered => {
                let mac_of_server = net.server.spec().mac;
                assert_eq!((link.destination, link.source), (mac(1), mac_of_server));
                assert_eq!((reply.sender_ip, reply.sender_mac), (SERVER, mac_of_server));
                assert_eq!((reply.operation, reply.target_ip), (Operation::Reply, asker));
            }
            [] if !answered => {}
            ref other => panic!("{other:?}"),
        }
    }
    let mut quiet = Net::new(ServerSpec { answer_arp: false, ..spec() });
    let arp = Arp::request(mac(1), ip(10), SERVER);
    quiet.hand_in(&Transmit { link, body: TransmitBody::Arp(arp) });
    assert!(quiet.drain().is_empty());
}

/// The addresses asked for by ARP, and the number of DHCP answers.
fn split(outs: &[Out]) -> (Vec<Ipv4Addr>, usize) {
    let asked = outs.iter().filter_map(|out| match out {
        Out::Arp(link, arp) => {
            assert_eq!((link.destination, arp.operation), (Mac::BROADCAST, Operation::Request));
            Some(arp.target_ip)
        }
        Out::Dhcp(_) | Out::Bad(_) => None,
    });
    (asked.collect(), outs.iter().filter(|out| matches!(out, Out::Dhcp(_))).count())
}

#[test]
fn a_server_behind_a_kernel_resolves_before_it_unicasts() {
    let mut net = Net::new(ServerSpec { resolve_by_arp: true, ..spec() });
    assert_eq!(net.bind(1), ip(10), "no ARP for clients without an address");
    net.send(renewing(1, ip(10)));
    assert_eq!(split(&net.drain()), (vec![ip(10)], 0));
    let link = Link { destination: net.server.spec().mac, source: mac(9), vlans: VlanStack::NONE };
    let reply = Arp::request(net.server.spec().mac, SERVER, ip(10)).answer(mac(9));
    net.hand_in(&Transmit { link, body: TransmitBody::Arp(reply) });
    let ack = net.answers().pop().unwrap();
    assert_eq!((ack.kind, ack.link.destination), (ACK, mac(9)), "to whom the reply names");
    net.send(renewing(1, ip(10)));
    assert_eq!(split(&net.drain()), (vec![], 1), "known now");
    net.seconds(30);
    net.send(renewing(1, ip(10)));
    assert_eq!(split(&net.drain()), (vec![ip(10)], 0), "too long ago");
}

#[test]
fn a_client_that_does_not_answer_arp_gets_no_answer() {
    let mut net = Net::new(ServerSpec { resolve_by_arp: true, ..spec() });
    net.bind(1);
    for _ in 0..5 {
        net.send(renewing(1, ip(10)));
    }
    let mut asked = Vec::new();
    for _ in 0..4 {
        asked.extend(split(&net.drain()).0);
        net.now = net.now.max(net.server.poll_timeout().unwrap());
    }
    assert_eq!(asked, [ip(10); 3]);
    assert_eq!(net.count(Counter::Unreachable), 5);
    assert_eq!(net.count(Counter::Ack), 1, "that of the bind");
}
