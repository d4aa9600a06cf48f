//! What each file must and must not hold.

use crate::scan;

/// The files that may say `unsafe`: the one that talks to the kernel, and the one that counts
/// allocations for the tests.
pub(crate) const UNSAFE_FILES: &[&str] = &["engine/src/ring/raw.rs", "tests/support/alloc.rs"];

/// A file longer than this cannot be held in mind.
pub(crate) const LINES: usize = 700;

/// Letters of the sections of `docs/requirements.md`.
const SECTIONS: &str = "UEPLTQ";

pub(crate) fn unsafe_outside_its_files(path: &str, text: &str) -> Vec<String> {
    if UNSAFE_FILES.contains(&path) {
        return Vec::new();
    }
    let lines = scan::lines_with_word(&scan::split(text).code, "unsafe");
    let say = |line| format!("{path}:{line}: `unsafe` belongs in {UNSAFE_FILES:?} only");
    lines.into_iter().map(say).collect()
}

/// Stubs and switched-off tests, which look like work that is done.
pub(crate) fn stubs(path: &str, text: &str) -> Vec<String> {
    let code = scan::split(text).code;
    let mut wrong = Vec::new();
    for (number, line) in (1..).zip(code.lines()) {
        let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        for stub in ["todo!(", "unimplemented!(", "#[ignore", ",ignore)]"] {
            if line.contains(stub) {
                wrong.push(format!(
                    "{path}:{number}: `{stub}`: write it, or leave it out and say so in \
                     docs/status.md (a long test asks for LESSEE_LONG=1 instead)"
                ));
            }
        }
    }
    wrong
}

/// Notes for later must name the requirement that they keep from being met: `(E3)` right behind.
pub(crate) fn unnumbered_notes(path: &str, text: &str) -> Vec<String> {
    let text = if path.ends_with(".rs") { scan::split(text).comments } else { text.to_owned() };
    let mut wrong = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for note in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            let Some((before, after)) = line.split_once(note) else { continue };
            let whole = !before.ends_with(scan::is_word) && !after.starts_with(scan::is_word);
            let named = after.strip_prefix('(').and_then(|rest| rest.split_once(')'));
            if whole && !named.is_some_and(|(name, _)| is_requirement(name)) {
                wrong.push(format!("{path}:{number}: {note} without its requirement: {note}(E3)"));
            }
        }
    }
    wrong
}

/// Is `name` of the form that the requirements' numbers have?
pub(crate) fn is_requirement(name: &str) -> bool {
    let digits = name.trim_start_matches(|c| SECTIONS.contains(c));
    name.len() == digits.len() + 1
        && !digits.is_empty()
        && digits.chars().all(|c| c.is_ascii_digit())
}

/// Paths that exist only on the machine where a file was written.
pub(crate) fn paths_of_a_machine(path: &str, bytes: &[u8]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        for needle in [concat!("/wo", "rk/"), concat!("../sha", "red")] {
            if line.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                wrong.push(format!("{path}:{number}: `{needle}` exists on one machine only"));
            }
        }
    }
    wrong
}

/// Every source says first what it is for, and stays short enough to read.
pub(crate) fn headless_or_long(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if !text.starts_with("//! ") {
        wrong.push(format!("{path}: begin with a `//!` line that says what this file is for"));
    }
    let lines = text.lines().count();
    if lines > LINES {
        wrong.push(format!("{path}: {lines} lines; split it: nobody holds over {LINES} in mind"));
    }
    wrong
}

#[test]
fn unsafe_is_caught_in_code_only() {
    let caught = |path, text| unsafe_outside_its_files(path, text).len();
    assert_eq!(caught("engine/src/client.rs", "fn f() {\n    unsafe { g() }\n}"), 1);
    assert_eq!(
        caught("engine/src/client.rs", "#[unsafe(no_mangle)]\nunsafe impl Send for X {}"),
        2
    );
    assert_eq!(
        caught(
            "engine/src/client.rs",
            "// unsafe\n#![deny(unsafe_code)] const X: &str = \"unsafe\";"
        ),
        0
    );
    assert_eq!(caught("engine/src/ring/raw.rs", "unsafe { g() }"), 0);
}

#[test]
fn stubs_are_caught() {
    for text in [
        concat!("fn f() { to", "do!() }"),
        concat!("fn f() { unimplemented", "! (\"later\") }"),
        concat!("#[ignore = \"slow\"]", "\nfn f() {}"),
        "#[cfg_attr(miri, ignore)]",
    ] {
        assert_eq!(stubs("x.rs", text).len(), 1, "not caught: {text}");
    }
    assert!(stubs("x.rs", "// todo!()\nlet s = \"#[ignore]\";").is_empty());
}

#[test]
fn notes_without_a_requirement_are_caught() {
    let note = concat!("TO", "DO");
    let caught = |path, text: String| unnumbered_notes(path, &text).len();
    assert_eq!(caught("x.rs", format!("// {note}: later")), 1);
    assert_eq!(caught("x.rs", format!("// {note}(soon): later")), 1);
    assert_eq!(caught("x.rs", format!("// {note}(E7): probe first")), 0);
    assert_eq!(caught("x.rs", format!("let s = \"{note}\"; // {note}S")), 0);
    assert_eq!(caught("Makefile", format!("# {note} later")), 1);
}

#[test]
fn requirement_numbers_are_told_from_other_words() {
    assert!(["U1", "E16", "Q5"].into_iter().all(is_requirement));
    assert!(!["", "E", "7", "EE7", "X1", "E7a"].into_iter().any(is_requirement));
}

#[test]
fn paths_of_a_machine_are_caught() {
    let caught = |text: String| paths_of_a_machine("x", text.as_bytes()).len();
    assert_eq!(caught(format!("ok\nsee {}{}", "/work", "/main")), 1);
    assert_eq!(caught(format!("see {}/{}", "..", "shared/x")), 1);
    assert_eq!(caught("see docs/work and shared/".to_owned()), 0);
}

#[test]
fn headless_and_long_files_are_caught() {
    assert_eq!(headless_or_long("x.rs", "use std::fmt;\n").len(), 1);
    assert_eq!(headless_or_long("x.rs", "//!\nuse std::fmt;\n").len(), 1);
    assert_eq!(headless_or_long("x.rs", &format!("//! Long.\n{}", "\n".repeat(LINES))).len(), 1);
    assert!(
        headless_or_long("x.rs", &format!("//! Short.\n{}", "\n".repeat(LINES - 1))).is_empty()
    );
}
