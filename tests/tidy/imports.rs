//! The import table of the engine: who may know whom.

use crate::scan;

/// One row a module: its path, the modules of the engine that it may name, and the outside crates.
/// A module may always name its own submodules, and whoever may name a module from outside of it
/// may name its submodules too. The longest path that fits a source file is its
/// row; a file without one fails, so that the table is extended by somebody who thought about it.
///
/// The same table, with a line on what each module is for, is section 2 of `docs/architecture.md`.
#[rustfmt::skip]
pub(crate) const TABLE: &[Row] = &[
    // module            may name                                                and outside
    ("time",            &[],                                                     &[]),
    ("random",          &[],                                                     &[]),
    ("device",          &[],                                                     &[]),
    ("error",           &["wire", "lease"],                                      &["thiserror"]),
    ("counters",        &["wire", "lease"],                                      &["hdrhistogram"]),
    ("wire",            &["device"],                                             &["pnet_packet", "thiserror"]),
    ("lease",           &[],                                                     &[]),
    ("lease::timing",   &["time", "random"],                                     &[]),
    ("lease::terms",    &["time", "wire", "lease::timing"],                      &[]),
    ("lease::state",    &["time", "wire", "lease::timing", "lease::terms"],      &[]),
    ("lease::identity", &["wire", "lease::terms"],                               &[]),
    // accept and render are the machine's ears and mouth
    ("lease::accept",   &["time", "wire", "lease::terms", "lease::state",
                          "lease::identity"],                                    &[]),
    ("lease::render",   &["time", "wire", "lease::terms", "lease::state",
                          "lease::identity"],                                    &[]),
    ("lease::machine",  &["time", "random", "wire", "lease::timing", "lease::terms",
                          "lease::state", "lease::identity", "lease::accept",
                          "lease::render"],                                      &[]),
    ("lease::table",    &["time", "wire", "lease::terms", "lease::state",
                          "lease::machine"],                                     &[]),
    ("arp",             &["time", "wire"],                                       &[]),
    ("timer",           &["time"],                                               &[]),
    ("pace",            &["time"],                                               &[]),
    ("command",         &["time", "device", "error", "counters", "wire", "lease"],
                                                                                 &["crossbeam_channel"]),
    ("ring",            &["device", "error"],                                    &["libc", "nix", "socket2", "thiserror"]),
    ("ring::raw",       &["device", "error"],                                    &["libc", "nix"]),
    ("client",          &["time", "random", "device", "error", "counters",
                          "wire", "lease", "arp", "timer", "pace", "command"],   &[]),
    ("handle",          &["time", "command", "error", "lease"],                         &["crossbeam_channel", "mio"]),
    ("driver",          &["time", "device", "error", "counters", "command",
                          "lease", "client", "handle", "ring"],                  &["crossbeam_channel", "getrandom", "mio", "nix"]),
];

pub(crate) type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Every crate that the engine depends on, as code names it: what is not here cannot be named.
pub(crate) const OUTSIDE: &[&str] = &[
    "crossbeam_channel",
    "dhcproto",
    "getrandom",
    "hdrhistogram",
    "libc",
    "mio",
    "nix",
    "pcap_file",
    "pnet_packet",
    "proptest",
    "socket2",
    "thiserror",
];

/// What is wrong with one source file of the engine, a line each.
pub(crate) fn violations(table: &[Row], path: &str, text: &str) -> Vec<String> {
    let module = module_of(path);
    if module.is_empty() || is_test(&module) {
        return Vec::new(); // lib.rs declares everything; tests may look everywhere
    }
    let module_name = module.join("::");
    let Some(&(row, inside, outside)) = row_of(table, &module) else {
        return vec![format!(
            "{path}: the module `{module_name}` is not in the import table of tests/tidy/imports.rs; \
             say there, and in section 2 of docs/architecture.md, what it may import"
        )];
    };
    let mut wrong = Vec::new();
    for (line, named) in mentions(text, &module) {
        let target = match named {
            Mention::Outside(name) if outside.contains(&name.as_str()) => continue,
            Mention::Outside(name) => format!("the crate `{name}`"),
            Mention::Inside(target) => match row_of(table, &target) {
                Some(&(found, ..)) if found == row || inside.contains(&found) => continue,
                Some(_) if target.starts_with(&split_path(row)) => continue,
                Some(_) if inside.iter().any(|may| below(&target, may, &module)) => continue,
                Some(&(found, ..)) => format!("`{found}`"),
                None => format!("`crate::{}`, which is no module of the table", target.join("::")),
            },
        };
        wrong.push(format!("{path}:{line}: `{row}` may not import {target}"));
    }
    wrong
}

/// The module that a source file of the engine holds; empty for the crate's root.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("engine/src/").trim_end_matches(".rs");
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

fn is_test(module: &[String]) -> bool {
    module.iter().any(|part| part == "tests")
}

fn split_path(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

/// Is `target` part of the module `may`, of which `module` is not a part itself?
fn below(target: &[String], may: &str, module: &[String]) -> bool {
    let may = split_path(may);
    target.starts_with(&may) && module[0] != may[0]
}

/// The row with the longest path that begins `module`.
fn row_of<'t>(table: &'t [Row], module: &[String]) -> Option<&'t Row> {
    let fits = |row: &&Row| module.starts_with(&split_path(row.0));
    table.iter().filter(fits).max_by_key(|row| row.0.len())
}

#[derive(Debug, PartialEq)]
enum Mention {
    /// A path from the root of the engine.
    Inside(Vec<String>),
    /// An outside crate.
    Outside(String),
}

/// All paths that leave `module`, with their line, outside of `#[cfg(test)]` items.
fn mentions(text: &str, module: &[String]) -> Vec<(usize, Mention)> {
    let tokens = without_tests(tokens(&scan::split(text).code));
    let mut found = Vec::new();
    let mut inline: Vec<Option<String>> = Vec::new(); // open braces, and the `mod` of each
    for at in 0..tokens.len() {
        let (line, token) = (tokens[at].0, tokens[at].1.as_str());
        let back = |by| at.checked_sub(by).map_or("", |at: usize| tokens[at].1.as_str());
        let before = back(1);
        // `use ::mio::Poll` starts at its `::`; in `own::mio::Poll` that `::` belongs to `own`.
        let starts_path = before != "::"
            || back(2) == "use"
            || !back(2).ends_with(|c| scan::is_word(c) || c == '>');
        match token {
            "{" => {
                inline.push((back(2) == "mod").then(|| before.to_owned()));
            }
            "}" => drop(inline.pop()),
            "crate" | "super" if before == "in" && back(2) == "(" => {} // pub(in crate::lease)
            "crate" | "super" | "self" if before != "::" && follows(&tokens, at, "::") => {
                let mut here = module.to_vec();
                here.extend(inline.iter().flatten().cloned());
                let mut paths = Vec::new();
                use_tree(&tokens, at, &here, &mut paths);
                found.extend(paths.into_iter().map(|path| (line, Mention::Inside(path))));
            }
            _ if OUTSIDE.contains(&token) && starts_path && follows(&tokens, at, "::") => {
                found.push((line, Mention::Outside(token.to_owned())));
            }
            _ => {}
        }
    }
    found
}

fn follows(tokens: &[(usize, String)], at: usize, what: &str) -> bool {
    tokens.get(at + 1).is_some_and(|(_, token)| token == what)
}

/// Collects the paths of the use-tree (or plain path) at `at`, as seen from the module `base`;
/// answers where the tree ends.
fn use_tree(
    tokens: &[(usize, String)],
    mut at: usize,
    base: &[String],
    paths: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = base.to_vec();
    loop {
        match tokens.get(at).map(|(_, token)| token.as_str()) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|(_, token)| token != "}") {
                    let end = use_tree(tokens, at, &path, paths).max(at + 1);
                    at = if tokens.get(end).is_some_and(|(_, token)| token == ",") {
                        end + 1
                    } else {
                        end
                    };
                }
                return at + 1;
            }
            Some("crate") => path.clear(),
            Some("super") => drop(path.pop()),
            Some("self") => {}
            Some(name) if name.starts_with(scan::is_word) => path.push(name.to_owned()),
            _ => {
                // `crate::*`, or the end of the text
                paths.push(path);
                return at + 1;
            }
        }
        if !follows(tokens, at, "::") {
            paths.push(path);
            // skip `as name`
            return if follows(tokens, at, "as") { at + 3 } else { at + 1 };
        }
        at += 2;
    }
}

/// Words, `::` and single characters, each with its line.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    for (number, line) in (1..).zip(code.lines()) {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let len = match first {
                c if scan::is_word(c) => rest.find(|c| !scan::is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            tokens.push((number, rest[..len].to_owned()));
            rest = rest[len..].trim_start();
        }
    }
    tokens
}

/// Takes out each item behind `#[cfg(test)]`: up to its `;` or its closing brace.
fn without_tests(tokens: Vec<(usize, String)>) -> Vec<(usize, String)> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let here = tokens[at..].iter().map(|(_, token)| token.as_str());
        if !here.take(MARK.len()).eq(MARK) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += MARK.len();
        let mut depth = 0;
        while at < tokens.len() {
            let token = tokens[at].1.as_str();
            at += 1;
            match token {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 && (token == "}" || token == ";") {
                break;
            }
        }
    }
    kept
}

#[test]
fn a_forbidden_import_is_caught_however_it_is_written() {
    let caught = |path: &str, text: &str| violations(TABLE, path, text).len();
    for text in [
        "use crate::client::Client;",
        "use crate::{time::Instant, client::{self, Client}};",
        "use super::table::Table;",
        "use super::Table;",
        "use super::super::client::Client as C;",
        "fn f() { let x = crate::client::Client::new(); }",
        "pub(crate) use crate::*;",
        "mod inner { use super::super::super::client::Client; }",
        "fn f() { mio::Poll::new(); }",
        "use mio::Poll;",
        "use ::mio::Poll;",
    ] {
        assert!(caught("engine/src/lease/machine.rs", text) > 0, "not caught: {text}");
    }
    assert_eq!(caught("engine/src/wire/dhcp.rs", "use crate::lease::state::State;"), 1);
    assert_eq!(caught("engine/src/wire/mod.rs", "use super::time::Instant;"), 1);
    assert_eq!(caught("engine/src/ring/rx.rs", "use crate::client::Client;"), 1);
    assert_eq!(caught("engine/src/ring/rx.rs", "use mio::Poll;"), 1);
    assert_eq!(caught("engine/src/surprise.rs", ""), 1);
}

#[test]
fn an_allowed_import_is_let_through() {
    for (path, text) in [
        ("engine/src/lease/machine.rs", "use crate::wire::{dhcp, Reply}; use super::state::State;"),
        ("engine/src/lease/machine.rs", "use crate::{time::Instant, wire::{self, arp as a}};"),
        ("engine/src/lease/machine.rs", "// use crate::client\nlet s = \"crate::client::X\";"),
        ("engine/src/lease/machine.rs", "#[cfg(test)]\nmod tests;\n#[cfg(test)] use mio::X;"),
        ("engine/src/lease/machine.rs", "#[cfg(test)] mod t { use crate::client::C; fn f() {} }"),
        ("engine/src/lease/machine/tests.rs", "use crate::client::Client;"),
        ("engine/src/lease/mod.rs", "pub use machine::Machine; pub use self::state::State;"),
        ("engine/src/lease/timing.rs", "pub(in crate::lease) fn f() { self::g(); own::mio::h() }"),
        ("engine/src/wire/dhcp.rs", "use super::options; use crate::wire::ipv4::Ipv4;"),
        ("engine/src/ring/raw.rs", "use nix::sys::mman; use libc::c_int;"),
        ("engine/src/lib.rs", "pub use crate::client::Client;"),
        ("engine/src/client.rs", "use crate::lease::{Table, state::State, machine};"),
        ("engine/src/client/admit.rs", "use super::Client; use crate::wire::Reply;"),
    ] {
        let found = violations(TABLE, path, text);
        assert!(found.is_empty(), "{path}: {text}\n{found:?}");
    }
}

#[test]
fn the_table_names_only_its_own_modules() {
    for (module, inside, outside) in TABLE {
        for name in *inside {
            assert!(TABLE.iter().any(|row| row.0 == *name), "{module}: no row for `{name}`");
        }
        for name in *outside {
            assert!(OUTSIDE.contains(name), "{module}: `{name}` is not in OUTSIDE");
        }
    }
}
