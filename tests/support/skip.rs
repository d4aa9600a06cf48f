//! Stories that cannot run here.

use lessee_lab::servers::{self, Server};
use lessee_lab::userns;
use std::io::Write;

/// Says loudly that a story did not run, and fails it where that must not happen (in CI).
///
/// # Panics
/// If the environment has `CI` set: there, a story that cannot run is a failure.
pub fn skipped(story: &str, why: &str) {
    // Not eprintln!: the test runner hides what that prints, unless the test fails.
    let said = writeln!(std::io::stderr(), "skipped: {story}: {why}");
    assert!(said.is_ok(), "cannot say that {story} is skipped");
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {story}: {why}");
}

/// True if this process may make network namespaces and this server is installed; says so if not.
#[must_use]
pub fn can_run(story: &str, server: Option<&dyn Server>) -> bool {
    if !userns::capable() {
        skipped(story, "needs root, or `unshare -Ur` in front of the command");
        return false;
    }
    match server {
        Some(server) if servers::find(server).is_none() => {
            skipped(story, &format!("install the Debian package {}", server.package()));
            false
        }
        _ => true,
    }
}
