//! What a person can get wrong: each is named, with the way out, and the exit status says so.

use std::process::Command;

use lessee_lab::embedded::{Kinds, Misbehaviour, Rule};
use lessee_lab::netns::Netns;
use lessee_linkctl::Veth;

use crate::support::{LESSEE, can_run, run, served, server_holds, skipped, start_program, wire};

#[test]
fn bad_arguments_are_refused_with_the_way_out() {
    let table = [
        ("", "Usage: lessee"),
        ("probe", "<IFACE>"),
        ("load", "<IFACE|--lab>"),
        ("load --lab eth0", "cannot be used with"),
        ("load --lab --leases 0", "ask for at least 1"),
        ("lease eth0 --count 0", "ask for at least 1"),
        ("load eth0 --leases 9999999", "at most 2097152"),
        ("load eth0 --rate 0", "from 1 on"),
        ("load eth0 --window 0", "`auto`, `none`"),
        ("lease eth0 --mac 01:00:00:00:00:01", "multicast"),
        ("lease eth0 --mac 00:00:00:00:00:00", "zeros"),
        ("lease eth0 --mac 02:00", "02:00:00:00:00:01"),
        ("lease eth0 --mac 02:00:00:00:00:01 --count 2", "cannot be used with"),
        ("lease eth0 --request 10.0.0.1 --count 2", "cannot be used with"),
        ("lease eth0 --client-id 0102 --count 2", "cannot be used with"),
        ("lease eth0 --client-id 00", "2 to 255 bytes"),
        ("lease eth0 --keep --release", "cannot be used with"),
        ("lease eth0 --hold soon", "`forever`"),
        ("lease eth0 --timeout 0s", "longer than 0"),
        ("probe eth0 --timeout 3", "write a time like 3s"),
        ("probe eth0 --vlan 0", "1 to 4094"),
        ("probe eth0 --vlan 4095", "1 to 4094"),
        ("probe eth0 --vlan 1.2.3", "1 to 4094"),
        ("probe eth0 --broadcast maybe", "auto, always or never"),
        ("load --lab --leases 300 --mac-base 02:ff:ff:ff:ff:00", "only 256 are left"),
    ];
    for (line, expected) in table {
        let output = Command::new(LESSEE).args(line.split_whitespace()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        // Without CAP_NET_RAW or user namespaces, --lab ends before it looks at the addresses.
        if line.contains("--mac-base") && text.contains("namespace") {
            continue;
        }
        assert_eq!(output.status.code(), Some(2), "{line}: {text}");
        assert!(text.contains(expected), "{line}: no {expected:?} in {text}");
        assert!(output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn a_hostname_with_spaces_is_refused() {
    for wrong in ["two words", "new\nline", "esc\u{1b}[0m"] {
        let output = Command::new(LESSEE).args(["lease", "eth0", "--hostname", wrong]).output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {text}");
        assert!(text.contains("no spaces or control characters"), "{wrong:?}: {text}");
    }
}

#[test]
fn a_refused_user_namespace_is_told_once_with_what_to_type() {
    let story = "a_refused_user_namespace_is_told_once_with_what_to_type";
    let max = "/proc/sys/user/max_user_namespaces";
    let within = |program: &str| {
        // A user namespace that allows none within, and nothing that gives capabilities.
        let line =
            format!("echo 0 > {max} && exec setpriv --bounding-set=-all --inh-caps=-all {program}");
        Command::new("unshare").args(["-Ur", "sh", "-c", &line]).output().unwrap()
    };
    let ready = within("true");
    if !ready.status.success() {
        let why = String::from_utf8_lossy(&ready.stderr);
        return skipped(story, &format!("no user namespace can be made here: {why}"));
    }
    let line = format!("{LESSEE} load --lab --leases 3 --mac-base 02:00:00:00:00:01");
    let output = within(&line);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(
        text,
        format!(
            "lessee: this system refuses an unprivileged user namespace (unshare: No space left \
             on device (os error 28)).\nuser.max_user_namespaces is 0. To allow some: sudo sysctl \
             user.max_user_namespaces=1024\nOr run it as root: sudo {line}\n"
        )
    );
}

#[test]
fn help_and_version_are_no_errors() {
    for line in ["--help", "--version", "probe --help", "lease --help", "load --help"] {
        let output = Command::new(LESSEE).args(line.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}");
        let text = String::from_utf8_lossy(&output.stdout);
        let whole =
            line == "--version" || (text.contains("Examples:") && text.contains("Exit status:"));
        assert!(whole && output.stderr.is_empty(), "{line}: {text}");
    }
}

#[test]
fn an_interface_that_cannot_do_it_is_named() {
    if !can_run("an_interface_that_cannot_do_it_is_named") {
        return;
    }
    let ns = Netns::new().unwrap();
    let links = ns.links().unwrap();
    links.add_veth(&Veth::new("c0", "s0")).unwrap();
    for command in ["probe", "lease", "load"] {
        let expect = |interface: &str, texts: &[&str]| {
            run(&ns, &format!("{command} {interface}")).expect(2, texts);
        };
        expect("eth9", &["lessee: no interface eth9", "there are: lo, s0, c0"]);
        expect("lo", &["lo is loopback, not Ethernet", "c0"]);
        links.set_down("c0").unwrap();
        expect("c0", &["c0 is down", "ip link set c0 up"]);
        links.set_up("c0").unwrap();
        expect("c0", &["c0 has no carrier", "other end"]);
        links.set_up("s0").unwrap();
        links.set_mtu("c0", 575).unwrap();
        expect("c0", &["c0 has an MTU of 575 bytes", "576", "ip link set c0 mtu 1500"]);
        links.set_mtu("c0", 1500).unwrap();
        links.set_down("s0").unwrap();
    }
}

#[test]
fn a_missing_capability_is_named() {
    if !can_run("a_missing_capability_is_named") {
        return;
    }
    let wire = wire();
    for command in ["probe", "lease", "load"] {
        let args = ["--inh-caps=-all", "--bounding-set=-all", LESSEE, command, "c0"];
        start_program(&wire.client, "setpriv", args)
            .wait()
            .expect(2, &["c0: ", "CAP_NET_RAW", "sudo setcap cap_net_raw+ep ", "as root"]);
    }
}

#[test]
fn a_silent_network_is_a_bounded_wait() {
    if !can_run("a_silent_network_is_a_bounded_wait") {
        return;
    }
    let wire = wire();
    run(&wire.client, "probe c0 --timeout 300ms")
        .expect(1, &["c0: no answer in 0.3", "--vlan VID", "--timeout 6s", "--broadcast always"]);
    run(&wire.client, "probe c0 --timeout 300ms --vlan 7.8")
        .expect(1, &["c0, VLAN 7.8: no answer", "carry VLAN 7.8"]);
    run(&wire.client, "lease c0 --timeout 300ms").expect(1, &["c0: no answer in 0.3 s"]);
    let ran = run(&wire.client, "load c0 --leases 7 --timeout 300ms --json");
    ran.expect(1, &["c0: 0 of 7 leases bound; no answer in 0.3"]);
    assert_eq!((&ran.json()["stranded"], &ran.json()["ended"]), (&7.into(), &"stalled".into()));
    let ran = run(&wire.client, "load c0 --leases 7 --duration 300ms --json");
    ran.expect(1, &["--duration was over"]);
    assert_eq!(ran.json()["ended"], "time_over");
}

#[test]
fn an_exhausted_pool_is_said_so_and_given_back() {
    if !can_run("an_exhausted_pool_is_said_so_and_given_back") {
        return;
    }
    let (wire, server) = served(3);
    run(&wire.client, "lease c0 --count 5 --timeout 1s")
        .expect(1, &["c0: 3 of 5 leases bound in 1 s, 2 silent", "pool exhausted"]);
    server_holds(&server, 0);
    let ran = run(&wire.client, "load c0 --leases 5 --timeout 1s --json");
    ran.expect(1, &["3 of 5 leases bound", "pool exhausted", "not bound: 02:"]);
    let json = ran.json();
    assert_eq!((&json["bound"], &json["stranded"]), (&3.into(), &2.into()));
    server_holds(&server, 0);
}

#[test]
fn a_refusal_is_not_called_silence() {
    if !can_run("a_refusal_is_not_called_silence") {
        return;
    }
    let (wire, server) = served(10);
    server.set_rules(vec![Rule::new(Misbehaviour::Nak).on(Kinds::REQUEST)]);
    for line in ["load c0 --leases 2 --timeout 1500ms", "lease c0 --count 2 --timeout 1500ms"] {
        let ran = run(&wire.client, line);
        ran.expect(1, &["NAK"]);
        assert!(!ran.stderr.contains("silent") && !ran.stderr.contains("no answer"), "{ran:?}");
    }
}
