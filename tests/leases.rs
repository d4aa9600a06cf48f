//! A thousand leases from each of four servers that we did not write, bound in parallel, judged by
//! the server's own lease table, and given back.

#![allow(clippy::unwrap_used, reason = "a story's helpers fail like the story")]

use lessee_engine::lease::Profile;
use lessee_engine::wire::ethernet::Mac;
use lessee_engine::wire::options::code;
use lessee_lab::servers::{Dhcpd, Dnsmasq, Kea, Server, ServerConfig, Udhcpd};
use lessee_lab::topology::Wire;
use lessee_tests::{LabEngine, can_run, plain};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const LEASES: u32 = 1000;

/// Binds and releases against one server.
fn story(server: &'static dyn Server) {
    let name = format!("a thousand leases ({})", server.name());
    if !can_run(&name, Some(server)) {
        return;
    }
    let wire = Wire::new().unwrap();
    let config = ServerConfig::proof(&wire.spec).pool_of(4 * LEASES).times(600, 300, 500);
    let mut running = lessee_lab::servers::start(server, &wire.server, config.clone()).unwrap();
    let mut engine = LabEngine::start(&wire.client, "c0");
    let profile = Arc::new(Profile::default());
    for index in 0..LEASES {
        let mut acquire = plain(index, &profile);
        acquire.hostname = Some(format!("host-{index}").into());
        engine.acquire(acquire);
    }
    let began = std::time::Instant::now();
    engine.wait_bound(Duration::from_secs(60));
    eprintln!("{}: bound in {:?}: {}", server.name(), began.elapsed(), engine.summary());
    let view = engine.port();
    let l = view.latencies.unwrap();
    eprintln!(
        "window {:?} offer p50 {} max {} ack p50 {} max {}",
        view.window,
        l.discover_offer.value_at_quantile(0.5),
        l.discover_offer.max(),
        l.request_ack.value_at_quantile(0.5),
        l.request_ack.max()
    );

    check_table(&engine, &mut running, server);
    check_options(&engine, &config);

    engine.release_all(Duration::from_secs(30));
    let mut left = usize::MAX;
    for _ in 0..50 {
        left = running.leases().unwrap().iter().filter(|lease| lease.is_active()).count();
        if left == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(left, 0, "{}: leases not freed by our RELEASEs", server.name());
}

/// The server's own table holds exactly our MACs and addresses, hostnames included.
fn check_table(
    engine: &LabEngine,
    running: &mut lessee_lab::servers::Running,
    server: &'static dyn Server,
) {
    let mut theirs: Vec<(Mac, Ipv4Addr)> = Vec::new();
    let limits = server.limits();
    for lease in running.leases().unwrap().into_iter().filter(|lease| lease.is_active()) {
        let mac = Mac(lease.mac);
        let index = u32::from_be_bytes([0, mac.0[3], mac.0[4], mac.0[5]]);
        assert_eq!(lease.hostname.as_deref(), Some(&*format!("host-{index}")));
        if limits.keeps_client_id {
            let mut expected = vec![1];
            expected.extend_from_slice(&mac.0);
            assert_eq!(lease.client_id, Some(expected));
        }
        theirs.push((mac, lease.address));
    }
    theirs.sort_unstable();
    assert_eq!(theirs.len(), LEASES as usize, "{}", server.name());
    assert_eq!(theirs, engine.table(), "{}", server.name());
}

/// What the server was told to give reaches the caller.
fn check_options(engine: &LabEngine, config: &ServerConfig) {
    for held in engine.leases.values() {
        let notice = held.last.as_ref().unwrap();
        let terms = notice.terms.unwrap();
        assert_eq!(terms.prefix, Some(config.prefix));
        assert_eq!(terms.server_id, config.server_ip);
        assert_eq!(terms.lease_time, config.lease_time);
        let options = notice.options.as_ref().unwrap();
        let router = config.router.unwrap().octets();
        assert_eq!(options.get(code::ROUTER), Some(router.as_slice()));
        let dns: Vec<u8> = config.dns.iter().flat_map(Ipv4Addr::octets).collect();
        assert_eq!(options.get(code::DOMAIN_NAME_SERVER), Some(dns.as_slice()));
        let domain = options.get(code::DOMAIN_NAME).unwrap();
        assert_eq!(domain, config.domain.as_ref().unwrap().as_bytes());
        let mtu = config.mtu.unwrap().to_be_bytes();
        assert_eq!(options.get(code::INTERFACE_MTU), Some(mtu.as_slice()));
    }
}

#[test]
fn dnsmasq() {
    story(&Dnsmasq);
}

#[test]
fn kea() {
    story(&Kea);
}

#[test]
fn dhcpd() {
    story(&Dhcpd);
}

#[test]
fn udhcpd() {
    story(&Udhcpd);
}
