//! Whoever starts the plugin today is told that it is not there, and where to read on.

use std::process::Command;

#[test]
fn says_that_it_is_not_available_yet() {
    let output = Command::new(env!("CARGO_BIN_EXE_lessee-ipam")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("not available yet: see docs/status.md"), "{message}");
    assert!(output.stdout.is_empty());
}
