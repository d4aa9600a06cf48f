//! Links are made, looked up, changed and removed as values, in a private
//! namespace of a real kernel.

#![allow(clippy::unwrap_used, reason = "a story's helpers fail like the story")]

use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lessee_lab::netns::Netns;
use lessee_lab::topology::{Port, Segment, Wire, WireSpec};
use lessee_lab::userns;
use lessee_linkctl::{LinkError, Links, MacvlanMode, Route, Veth};
use nix::sys::signal::Signal;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Whether this story cannot be told here; says so, and in CI fails.
fn cannot() -> bool {
    if userns::capable() {
        return false;
    }
    lessee_tests::skipped("links", "needs root (CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN)");
    true
}

fn links() -> (Netns, Links) {
    let netns = Netns::new().unwrap();
    let links = netns.links().unwrap();
    (netns, links)
}

#[test]
fn a_new_namespace_has_loopback_only_and_no_ipv6() {
    if cannot() {
        return;
    }
    let (netns, links) = links();
    let all = links.list().unwrap();
    // Tunnel modules add devices of their own to every new namespace.
    let lo = all.iter().find(|link| link.name == "lo").unwrap();
    assert!(lo.up && !lo.is_ethernet && lo.kind.is_none());
    assert_eq!(all.iter().filter(|link| link.up).count(), 1);
    let v6 = netns.proc_net("if_inet6").unwrap_or_default();
    assert_eq!(v6, "", "IPv6 addresses in a new namespace");
    // The host's own interfaces are elsewhere, and ours are not there.
    links.add_veth(&Veth::new("here0", "here1")).unwrap();
    assert!(Links::open().unwrap().get("here0").unwrap_err().is_not_found());
}

#[test]
fn a_veth_pair_is_made_as_asked_and_looked_up() {
    if cannot() {
        return;
    }
    let (_netns, links) = links();
    let veth = Veth::new("c0", "s0").mac(MAC).peer_mac(PEER_MAC).mtu(1400).queues(1);
    links.add_veth(&veth).unwrap();
    let (near, far) = (links.get("c0").unwrap(), links.get("s0").unwrap());
    assert_eq!((near.mac, far.mac), (MAC, PEER_MAC));
    assert_eq!((near.mtu, far.mtu), (1400, 1400));
    assert_eq!(near.kind.as_deref(), Some("veth"));
    assert_eq!((near.peer, near.parent), (Some(far.index), None));
    assert!(near.is_ethernet && !near.up && !near.carrier && !near.lower_elsewhere);
    assert_eq!(links.get_by_index(near.index).unwrap(), near);

    links.set_up("c0").unwrap();
    let lonely = links.wait_carrier("c0", Duration::from_millis(20)).unwrap_err();
    assert!(matches!(lonely, LinkError::NoCarrier { .. }), "{lonely}");
    links.set_up("s0").unwrap();
    assert!(links.wait_carrier("c0", Duration::from_secs(2)).unwrap().carrier);

    links.set_mtu("c0", 1300).unwrap();
    links.set_mac("c0", [2, 0, 0, 0, 0, 3]).unwrap();
    let near = links.get("c0").unwrap();
    assert_eq!((near.mtu, near.mac[5]), (1300, 3));
    links.set_down("s0").unwrap();
    assert!(!links.get("c0").unwrap().carrier);
    links.delete("c0").unwrap();
    assert!(links.get("s0").unwrap_err().is_not_found(), "the peer goes too");
}

#[test]
fn a_peer_is_made_in_another_namespace_and_a_link_moves_there() {
    if cannot() {
        return;
    }
    let (_here, links) = links();
    let there = Netns::new().unwrap();
    links.add_veth(&Veth::new("c0", "s0").peer_netns(there.fd())).unwrap();
    assert!(links.get("c0").unwrap().lower_elsewhere);
    assert!(links.get("s0").unwrap_err().is_not_found());
    let far = there.links().unwrap();
    assert!(far.get("s0").is_ok());
    links.add_bridge("br0").unwrap();
    links.add_veth(&Veth::new("x0", "x1")).unwrap();
    links.move_to("x0", there.fd()).unwrap();
    assert!(far.get("x0").is_ok());
    far.add_veth(&Veth::new("y0", "x1")).unwrap();
    let taken = links.move_to("x1", there.fd()).unwrap_err();
    assert!(matches!(taken, LinkError::Exists { .. }), "{taken}");
}

#[test]
fn macvlan_children_know_their_parent() {
    if cannot() {
        return;
    }
    let (_netns, links) = links();
    links.add_veth(&Veth::new("p0", "p1")).unwrap();
    let parent = links.get("p0").unwrap();
    for (name, mode) in
        [("m0", MacvlanMode::Bridge), ("m1", MacvlanMode::Private), ("m2", MacvlanMode::Vepa)]
    {
        let mac = [2, 0, 0, 1, 0, name.as_bytes()[1]];
        links.add_macvlan(name, "p0", mode, Some(mac)).unwrap();
        let child = links.get(name).unwrap();
        assert_eq!((child.parent, child.mac), (Some(parent.index), mac));
        assert_eq!(child.kind.as_deref(), Some("macvlan"));
        assert!(child.is_ethernet);
    }
    links.add_macvlan("m3", "p1", MacvlanMode::Passthru, None).unwrap();
    let second = links.add_macvlan("m4", "p1", MacvlanMode::Bridge, None).unwrap_err();
    assert!(second.to_string().contains("m4"), "{second}");
    let orphan = links.add_macvlan("m5", "nowhere", MacvlanMode::Bridge, None).unwrap_err();
    assert!(orphan.is_not_found() && orphan.to_string().contains("p0"), "{orphan}");
}

#[test]
fn addresses_routes_and_neighbours_are_set() {
    if cannot() {
        return;
    }
    let (netns, links) = links();
    links.add_veth(&Veth::new("c0", "s0")).unwrap();
    let ip = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
    links.add_address("c0", ip, 24).unwrap();
    let have = links.addresses("c0").unwrap();
    assert_eq!(have.iter().map(|a| (a.ip, a.prefix)).collect::<Vec<_>>(), [(ip, 24)]);
    let again = links.add_address("c0", ip, 24).unwrap_err();
    assert!(matches!(again, LinkError::Exists { .. }), "{again}");

    let via = Route::default_via(Ipv4Addr::new(10, 1, 2, 1));
    let down = links.add_route("c0", via).unwrap_err();
    assert!(down.to_string().contains("c0"), "{down}");
    links.set_up("c0").unwrap();
    links.add_route("c0", via).unwrap();
    links.add_route("c0", Route::on_link(Ipv4Addr::new(192, 0, 2, 0), 24)).unwrap();
    let routes = netns.proc_net("route").unwrap();
    assert!(routes.contains("c0\t00000000\t0102010A"), "{routes}");
    assert!(routes.contains("c0\t000200C0\t00000000"), "{routes}");

    let far = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 9));
    links.replace_neighbour("c0", far, MAC).unwrap();
    links.replace_neighbour("c0", far, PEER_MAC).unwrap();
    let arp = netns.proc_net("arp").unwrap();
    // Flags 0x6: complete and permanent.
    let line = arp.lines().find(|line| line.starts_with("10.1.2.9")).unwrap();
    assert!(line.contains("0x6") && line.contains("02:00:00:00:00:02"), "{line}");
}

#[test]
fn errors_name_the_link_and_the_way_out() {
    if cannot() {
        return;
    }
    let (_netns, links) = links();
    links.add_veth(&Veth::new("c0", "s0")).unwrap();
    let text = links.get("eth9").unwrap_err().to_string();
    assert!(
        text.contains("eth9") && text.contains("there are: lo") && text.contains("c0"),
        "{text}"
    );
    let text = links.set_up("eth9").unwrap_err().to_string();
    assert!(text.contains("eth9") && text.contains("there are:"), "{text}");
    let text = links.add_bridge("c0").unwrap_err().to_string();
    assert!(text.contains("c0") && text.contains("already exists"), "{text}");
    let text = links.set_mtu("c0", 10).unwrap_err().to_string();
    assert!(text.contains("c0") && text.contains("MTU to 10"), "{text}");
    let text = links.set_mac("c0", [1, 0, 0, 0, 0, 1]).unwrap_err().to_string();
    assert!(text.contains("unicast"), "{text}");
    assert!(matches!(links.get("a name with spaces"), Err(LinkError::BadName { .. })));
    assert!(links.get_by_index(4711).unwrap_err().to_string().contains("4711"));
}

#[test]
fn a_wire_has_a_carrier_and_the_address_asked_for() {
    if cannot() {
        return;
    }
    let wire = Wire::new().unwrap();
    let (client, server) = (wire.client_link().unwrap(), wire.server_link().unwrap());
    assert!(client.carrier && server.carrier);
    let addresses = wire.server.links().unwrap().addresses("s0").unwrap();
    assert_eq!(addresses[0].ip, IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)));
    assert!(wire.client.links().unwrap().addresses("c0").unwrap().is_empty());

    let spec = WireSpec { client: Port::new("eth0").mac(MAC), mtu: 576, ..WireSpec::default() };
    let wire = Wire::with(spec).unwrap();
    let client = wire.client_link().unwrap();
    assert_eq!((client.mac, client.mtu, client.name.as_str()), (MAC, 576, "eth0"));
}

#[test]
fn hosts_on_a_segment_reach_each_other() {
    if cannot() {
        return;
    }
    let address = |n| Ipv4Addr::new(10, 9, 0, n);
    let ports: Vec<Port> = (1..=3).map(|n| Port::new("e0").address(address(n), 24)).collect();
    let segment = Segment::new(&ports).unwrap();
    assert!(segment.switch.links().unwrap().get("p2").unwrap().master.is_some());
    let listener =
        segment.hosts[2].netns.run(move || std::net::UdpSocket::bind((address(3), 4000))).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let sender = segment.hosts[0].netns.run(move || std::net::UdpSocket::bind((address(1), 0)));
    sender.unwrap().send_to(b"hello", (address(3), 4000)).unwrap();
    let mut bytes = [0; 16];
    let (count, from) = listener.recv_from(&mut bytes).unwrap();
    assert_eq!((&bytes[..count], from.ip()), (&b"hello"[..], IpAddr::V4(address(1))));
}

#[test]
fn threads_and_programs_live_inside_the_namespace() {
    if cannot() {
        return;
    }
    let netns = Netns::new().unwrap();
    let id = |path: &str| std::fs::read_link(path).unwrap();
    let inside = netns.run(move || id("/proc/thread-self/ns/net"));
    assert_ne!(inside, id("/proc/thread-self/ns/net"));
    let thread = netns.spawn_thread("story", move || id("/proc/thread-self/ns/net")).unwrap();
    assert_eq!(thread.join().unwrap(), inside);

    let mut sleeper = netns.spawn("sleep", |command| {
        command.arg("1000");
    });
    let sleeper = sleeper.as_mut().unwrap();
    let path = format!("/proc/{}/ns/net", sleeper.id());
    assert_eq!(id(&path), inside);
    sleeper.signal(Signal::SIGSTOP).unwrap();
    let status = sleeper.terminate(Duration::from_secs(5)).unwrap();
    assert!(!status.success());
    assert!(!std::path::Path::new(&path).exists(), "reaped");

    let missing = netns.spawn("/no/such/program", |_| {}).unwrap().wait_timeout(Duration::MAX);
    assert_eq!(missing.unwrap().unwrap().code(), Some(127));
}

#[test]
fn a_panic_inside_goes_on_outside() {
    if cannot() {
        return;
    }
    let netns = Netns::new().unwrap();
    let inner = netns.clone();
    let caught = std::thread::spawn(move || inner.run(|| panic!("as meant"))).join();
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"as meant"));
    assert_eq!(netns.run(|| 7), 7, "the keeper lives on");
}

#[test]
fn a_program_dies_with_its_handle() {
    if cannot() {
        return;
    }
    let netns = Netns::new().unwrap();
    let sleeper = netns.spawn("sleep", |command| {
        command.arg("1000");
    });
    let sleeper = sleeper.unwrap();
    let proc_dir = format!("/proc/{}", sleeper.id());
    assert!(std::path::Path::new(&proc_dir).exists());
    drop(sleeper);
    assert!(!std::path::Path::new(&proc_dir).exists());
}

/// Set in the run that is to be killed.
const TO_BE_KILLED: &str = "LESSEE_RUN_TO_BE_KILLED";

/// A run with a program in a namespace; it says which, and waits.
fn run_to_be_killed() {
    let netns = Netns::new().unwrap();
    let sleeper = netns.spawn("sleep", |command| {
        command.arg("1000");
    });
    let sleeper = sleeper.unwrap();
    eprintln!("sleeper {}", sleeper.id());
    std::thread::sleep(Duration::from_secs(1000));
    drop(sleeper);
}

#[test]
fn a_killed_run_leaves_no_process() {
    if cannot() {
        return;
    }
    if std::env::var_os(TO_BE_KILLED).is_some() {
        return run_to_be_killed();
    }
    let mut run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_run_leaves_no_process", "--nocapture"])
        .env(TO_BE_KILLED, "1")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(run.stderr.take().unwrap()).lines();
    let sleeper = lines.find_map(|line| Some(line.ok()?.strip_prefix("sleeper ")?.to_owned()));
    let sleeper = sleeper.unwrap();
    let command = format!("/proc/{sleeper}/comm");
    // setpriv becomes sleep, and is tied to the run by then.
    let is_sleep = || std::fs::read_to_string(&command).is_ok_and(|name| name.trim() == "sleep");
    assert!(soon(is_sleep), "the sleeper runs");
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(soon(|| !is_sleep()), "the sleeper {sleeper} outlived the run");
}

fn soon(what: impl Fn() -> bool) -> bool {
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}
