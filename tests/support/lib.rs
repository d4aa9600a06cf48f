//! What the stories share: how a story that cannot run here says so.

/// Says loudly that a story did not run, and fails it where that must not happen (in CI).
///
/// # Panics
/// If the environment has `CI` set: there, a story that cannot run is a failure.
pub fn skipped(story: &str, why: &str) {
    eprintln!("skipped: {story}: {why}");
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {story}: {why}");
}
