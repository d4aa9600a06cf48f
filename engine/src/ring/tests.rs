//! Sizes and messages. What a real kernel does with the rings is in `tests/ring_kernel.rs`.

use super::*;

#[test]
fn layouts_fill_whole_pages_and_hold_the_longest_frame() {
    for rx in [RxMode::V2, RxMode::V3 { block_timeout_ms: 0 }] {
        for (mtu, datagram_bytes) in [(576, 1500), (1500, 1500), (9000, 1500), (65_535, 65_535)] {
            for rx_bytes in [1, 100_000, 256 * 1024, 10_000_000, RX_BYTES_MAX] {
                for tx_frames in [1, 3, 256, TX_FRAMES_MAX] {
                    let config = RingConfig {
                        rx,
                        rx_bytes,
                        tx_frames,
                        datagram_bytes,
                        tx: TxMode::Ring,
                        ..RingConfig::new(1, mtu)
                    };
                    config.check().unwrap();
                    let (receive, transmit) =
                        (config.receive_layout(), config.transmit_layout().unwrap());
                    let page = raw::page_size();
                    assert!(receive.bytes().is_multiple_of(page), "{config:?}");
                    assert!(transmit.bytes().is_multiple_of(page), "{config:?}");
                    assert!(receive.count >= 2 && transmit.count >= tx_frames);
                    assert!(receive.bytes() >= rx_bytes / 2, "{config:?}");
                    let datagram = mtu.min(datagram_bytes);
                    assert!(receive.stride >= datagram + 100 && transmit.stride >= datagram + 66);
                }
            }
        }
    }
}

#[test]
fn the_default_is_small() {
    let config = RingConfig::new(1, 1500);
    let layout = config.receive_layout();
    assert_eq!((layout.bytes(), layout.stride, layout.count), (256 * 1024, 2048, 128));
    assert!(config.transmit_layout().is_none());
}

#[test]
fn errors_say_what_to_do() {
    let permission = RingError::Permission { interface: "eth0".to_owned() }.to_string();
    assert!(permission.contains("eth0") && permission.contains("CAP_NET_RAW"), "{permission}");
    let small = RingConfig::new(3, 575).check().unwrap_err().to_string();
    assert!(small.contains("575") && small.contains("576"), "{small}");
    let large = RingConfig { rx_bytes: usize::MAX, ..RingConfig::new(3, 1500) };
    assert!(large.check().unwrap_err().to_string().contains("rx_bytes"));
}
