//! An ordinary user gets the lab's network as well: in a user namespace of
//! its own. A program without the test harness, as the harness has threads
//! and a process with threads cannot enter one.

#![allow(clippy::unwrap_used, reason = "a story's helpers fail like the story")]

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use lessee_lab::topology::{Port, Segment, Wire, WireSpec};
use lessee_lab::userns::{self, Entered};

const STORY: &str = "an ordinary user gets a lab";
const NOBODY: &str = "65534";

fn main() {
    // Asked for a list of its tests, it has none.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    match userns::enter() {
        Ok(Entered::UserNamespace) => story(),
        Ok(Entered::AlreadyCapable) => again_as_nobody(),
        Err(error) => lessee_tests::skipped(STORY, &error.to_string()),
    }
}

/// Root runs a copy of this program as an ordinary user.
fn again_as_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("story");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    for path in [dir.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let status = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
        .arg(&copy)
        .current_dir("/")
        .status();
    match status {
        Ok(status) => assert!(status.success(), "as an ordinary user: {status}"),
        Err(error) => lessee_tests::skipped(STORY, &format!("setpriv (util-linux): {error}")),
    }
}

fn story() {
    let spec = WireSpec {
        client: Port::new("c0").address(Ipv4Addr::new(10, 77, 0, 2), 16),
        ..WireSpec::default()
    };
    let wire = Wire::with(spec).unwrap();
    let server = Ipv4Addr::new(10, 77, 0, 1);
    let listener = wire.server.run(move || UdpSocket::bind((server, 67))).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let sender = wire.client.run(|| UdpSocket::bind("0.0.0.0:68")).unwrap();
    sender.send_to(b"hello", (server, 67)).unwrap();
    let mut bytes = [0; 16];
    assert_eq!(listener.recv_from(&mut bytes).unwrap().0, 5);

    let thread = wire.client.spawn_thread("inside", || fs::read_link("/proc/thread-self/ns/net"));
    let inside = wire.client.run(|| fs::read_link("/proc/thread-self/ns/net")).unwrap();
    assert_eq!(thread.unwrap().join().unwrap().unwrap(), inside);
    let mut child = wire.client.spawn("true", |_| {}).unwrap();
    let status = child.wait_timeout(Duration::from_secs(5)).unwrap();
    assert!(status.is_some_and(|status| status.success()));

    let segment = Segment::new(&[Port::new("e0"), Port::new("e0")]).unwrap();
    assert!(segment.hosts[1].link().unwrap().carrier);
    eprintln!("test {STORY} ... ok");
}
