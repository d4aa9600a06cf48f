//! What the workspace is built from: licences, banned and duplicate crates, sources, and a reason
//! for each direct dependency.
//!
//! The same as cargo-deny checks, from `cargo metadata`: building cargo-deny costs three minutes
//! on two cores, more than everything else that `make check` does. (Advisories are not checked.)
//! Crates that only other platforms would use are left out.

#![allow(clippy::expect_used, clippy::panic, reason = "a check that cannot be made has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

use serde_json::Value;

/// Licences under which we take code, as SPDX names them.
const LICENCES: &[&str] = &["Apache-2.0", "MIT", "Unicode-3.0"];

/// Crates that must not come in, by whatever way.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "a C library to ship; nothing here speaks TLS"),
    ("native-tls", "as openssl-sys"),
    ("chrono", "time is a number of nanoseconds here"),
    ("pnet_datalink", "the rings are ours"),
    ("pcap", "links the C library; pcap-file reads and writes captures"),
    ("async-std", "unmaintained; tokio serves where netlink needs it"),
];

/// Crates that the engine must not reach outside of its tests: one loop, no second opinion on the
/// packet path.
const NOT_IN_ENGINE: &[&str] =
    &["tokio", "futures-util", "rtnetlink", "serde", "dhcproto", "pnet_packet", "parking_lot"];

/// Crates that are there in more than one version, and whose doing that is.
const DUPLICATES: &[(&str, &str)] = &[
    ("syn", "derive-into-owned (of pcap-file) and thiserror's newest; build time only"),
    ("thiserror", "pcap-file keeps to 1"),
    ("thiserror-impl", "as thiserror"),
];

/// One package of the graph.
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    source: Option<String>,
    /// Names of the packages it depends on, those that only its tests and build scripts use apart.
    normal: BTreeSet<String>,
}

/// The workspace's graph as this machine builds it.
static PACKAGES: LazyLock<Vec<Package>> = LazyLock::new(|| {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let host = Command::new("rustc").arg("-vV").output().expect("rustc runs").stdout;
    let host = String::from_utf8(host).expect("rustc speaks UTF-8");
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc has a host");
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")])
        .output()
        .expect("cargo runs");
    let complaint = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "cargo metadata failed:\n{complaint}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo metadata is JSON");
    read_packages(&metadata)
});

fn read_packages(metadata: &Value) -> Vec<Package> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let by_id: BTreeMap<String, Value> = array(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]).expect("a package has an id"), package))
        .collect();
    let name_of = |id: &Value| text(&by_id[id.as_str().unwrap_or_default()]["name"]);
    let nodes = array(&metadata["resolve"]["nodes"]);
    let packages = nodes.iter().map(|node| {
        let package = &by_id[node["id"].as_str().unwrap_or_default()];
        let normal = array(&node["deps"])
            .into_iter()
            .filter(|dep| array(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null()));
        Package {
            name: text(&package["name"]).expect("a package has a name"),
            version: text(&package["version"]).expect("a package has a version"),
            licence: text(&package["license"]),
            source: text(&package["source"]),
            normal: normal.filter_map(|dep| name_of(&dep["pkg"])).collect(),
        }
    });
    packages.collect()
}

/// Packages whose licence is none of those that we take.
fn unlicensed(packages: &[Package]) -> Vec<String> {
    let taken = |licence: &Option<String>| licence.as_deref().is_some_and(|l| permits(l, LICENCES));
    let wrong = packages.iter().filter(|package| !taken(&package.licence));
    wrong.map(|p| format!("{} {}: licence {:?}", p.name, p.version, p.licence)).collect()
}

/// Does an SPDX expression leave us a choice among `allowed`? `/` is the old way to write OR. OR
/// binds loosest; an exception (`WITH`) only ever permits more.
fn permits(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any_of(&words, &mut at, allowed) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut permitted = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        permitted |= all_of(words, at, allowed);
    }
    permitted
}

fn all_of(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut permitted = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        permitted &= one(words, at, allowed);
    }
    permitted
}

fn one(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let permitted = any_of(words, at, allowed);
        *at += 1; // the closing one
        return permitted;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
    }
    allowed.contains(&word)
}

fn banned(packages: &[Package], banned: &[(&str, &str)]) -> Vec<String> {
    let found =
        banned.iter().filter(|(name, _)| packages.iter().any(|package| package.name == *name));
    found.map(|(name, why)| format!("{name}: {why} (cargo tree -i {name})")).collect()
}

/// Crates in more than one version that are not listed, and listed ones that are no longer double.
fn duplicates(packages: &[Package], listed: &[(&str, &str)]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let is_listed = |name: &str| listed.iter().any(|(listed, _)| *listed == name);
    let new = versions.iter().filter(|(name, _)| !is_listed(name));
    let new = new.map(|(name, versions)| {
        format!("{name} comes in versions {versions:?} (cargo tree -d): join them, or list it with the reason")
    });
    let gone = listed.iter().filter(|(name, _)| !versions.contains_key(name));
    new.chain(gone.map(|(name, _)| format!("{name} is double no longer: drop it from the list")))
        .collect()
}

/// Crates from anywhere but a registry or this workspace.
fn strangers(packages: &[Package]) -> Vec<String> {
    let registry = |source: &str| source.starts_with("registry+") || source.starts_with("sparse+");
    let home = |package: &Package| match &package.source {
        Some(source) => registry(source),
        None => package.name == "lessee" || package.name.starts_with("lessee-"),
    };
    let strange = packages.iter().filter(|package| !home(package));
    strange.map(|p| format!("{} comes from {:?}", p.name, p.source)).collect()
}

/// Everything that `from` is built from, itself left out.
fn closure(packages: &[Package], from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![from.to_owned()];
    while let Some(name) = ahead.pop() {
        let found = packages.iter().filter(|package| package.name == name);
        for next in found.flat_map(|package| &package.normal) {
            if reached.insert(next.clone()) {
                ahead.push(next.clone());
            }
        }
    }
    reached
}

/// Names and lines of a `[section]` of a manifest.
fn section(manifest: &str, header: impl Fn(&str) -> bool) -> Vec<(&str, &str)> {
    let mut entries = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            inside = header(section.trim_end_matches(']'));
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            entries.push((line.split([' ', '.', '=']).next().unwrap_or_default(), line));
        }
    }
    entries
}

/// Holds the root manifest's list of dependencies, the members' use of it and the document with
/// the reasons against each other. The document's rows: `| crate | licence | reason |`.
fn undocumented(
    root: &str,
    members: &[(String, String)],
    document: &str,
    licence_of: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let shared = section(root, |header| header == "workspace.dependencies");
    let shared = shared.iter().filter(|(_, line)| !line.contains("path =")).map(|(name, _)| *name);
    let shared: BTreeSet<&str> = shared.collect();

    let mut used = BTreeSet::new();
    for (member, manifest) in members {
        for (name, line) in section(manifest, |header| header.ends_with("dependencies")) {
            used.insert(name);
            if !line.contains("workspace = true") {
                wrong.push(format!(
                    "{member}: `{name}` must take its version from the root (`workspace = true`)"
                ));
            }
        }
    }
    for name in shared.difference(&used) {
        wrong.push(format!("Cargo.toml: `{name}` is used by no member: drop it"));
    }

    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let rows: BTreeMap<&str, Vec<&str>> =
        rows.map(|(name, rest)| (name, rest.split('|').map(str::trim).collect())).collect();
    for name in &shared {
        let Some(row) = rows.get(name) else {
            wrong.push(format!("docs/dependencies.md has no row for `{name}`: what is it for?"));
            continue;
        };
        if row.get(1).is_none_or(|reason| reason.is_empty()) {
            wrong.push(format!("docs/dependencies.md gives no reason for `{name}`"));
        }
        if let Some(licence) =
            licence_of(name).filter(|licence| row.first() != Some(&licence.as_str()))
        {
            wrong.push(format!("docs/dependencies.md: the licence of `{name}` is {licence}"));
        }
    }
    for name in rows.keys().filter(|name| !shared.contains(*name)) {
        wrong.push(format!("docs/dependencies.md has a row for `{name}`, which we do not use"));
    }
    wrong
}

#[track_caller]
fn holds(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}:\n  {}\n", wrong.join("\n  "));
}

#[test]
fn licences_are_ones_that_we_take() {
    holds("licences", &unlicensed(&PACKAGES));
}

#[test]
fn banned_crates_stay_out() {
    holds("banned crates", &banned(&PACKAGES, BANNED));
}

#[test]
fn no_crate_comes_twice() {
    holds("duplicate crates", &duplicates(&PACKAGES, DUPLICATES));
}

#[test]
fn crates_come_from_the_registry() {
    holds("sources", &strangers(&PACKAGES));
}

#[test]
fn the_engine_stays_small() {
    let reached = closure(&PACKAGES, "lessee-engine");
    assert!(reached.contains("mio"), "the engine's dependencies were not understood: {reached:?}");
    let wrong: Vec<_> = NOT_IN_ENGINE.iter().filter(|name| reached.contains(**name)).collect();
    assert!(
        wrong.is_empty(),
        "the engine must do without {wrong:?} (cargo tree -p lessee-engine -e normal)"
    );
}

#[test]
fn every_direct_dependency_has_a_reason() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |path: &str| {
        fs::read_to_string(format!("{root}/{path}"))
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let manifest = read("Cargo.toml");
    let members = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let members = members.map_or("", |(list, _)| list).split('"').skip(1).step_by(2);
    let members: Vec<_> =
        members.map(|member| (member.to_owned(), read(&format!("{member}/Cargo.toml")))).collect();
    let licence_of =
        |name: &str| PACKAGES.iter().find(|package| package.name == name)?.licence.clone();
    holds(
        "direct dependencies",
        &undocumented(&manifest, &members, &read("docs/dependencies.md"), licence_of),
    );
}

/// What the checks catch, shown on made-up graphs.
mod catches {
    use super::*;

    fn package(name: &str, version: &str, licence: &str, normal: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: Some(licence.to_owned()).filter(|licence| !licence.is_empty()),
            source: Some("registry+https://example.org".to_owned()),
            normal: normal.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn licence_expressions() {
        let permits = |expression| super::permits(expression, &["MIT", "Apache-2.0"]);
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/BSD",
            "(MIT OR X) AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
            "GPL-3.0 AND X OR MIT",
        ] {
            assert!(permits(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR X) AND Y", "MIT GPL-3.0", "mit"] {
            assert!(!permits(bad), "{bad}");
        }
        assert_eq!(
            unlicensed(&[package("a", "1", "", &[]), package("b", "1", "MIT", &[])]).len(),
            1
        );
    }

    #[test]
    fn banned_double_and_strange_crates() {
        let graph = [
            package("a", "1.0", "MIT", &["b"]),
            package("b", "1.0", "MIT", &["c"]),
            package("b", "2.0", "MIT", &[]),
        ];
        assert_eq!(banned(&graph, &[("b", "why"), ("z", "why")]).len(), 1);
        assert_eq!(duplicates(&graph, &[]).len(), 1);
        assert_eq!(duplicates(&graph, &[("b", "why")]).len(), 0);
        assert_eq!(duplicates(&graph, &[("b", "why"), ("a", "why")]).len(), 1);
        assert_eq!(closure(&graph, "a").into_iter().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(strangers(&graph).len(), 0);
        let from = |source: Option<&str>| {
            [Package { source: source.map(str::to_owned), ..package("x", "1", "MIT", &[]) }]
        };
        assert_eq!(strangers(&from(Some("git+https://example.org"))).len(), 1);
        assert_eq!(strangers(&from(None)).len(), 1);
    }

    #[test]
    fn dependencies_without_a_reason() {
        let root = "[workspace.dependencies]\nours = { path = \"x\" }\na = \"1\"\nb = { version = \"1\" }\n[profile.dev]";
        let member = |uses: &str| {
            vec![("m".to_owned(), format!("[package]\nname = \"m\"\n[dependencies]\n{uses}"))]
        };
        let wrong = |uses: &str, document: &str| {
            undocumented(root, &member(uses), document, |_| Some("MIT".to_owned())).len()
        };
        let both = "a.workspace = true\nb = { workspace = true, features = [\"f\"] }\nours.workspace = true";
        let rows = "| Crate | Licence | For |\n|---|---|---|\n| `a` | MIT | x |\n| `b` | MIT | y |";
        assert_eq!(wrong(both, rows), 0);
        assert_eq!(wrong("a.workspace = true", rows), 1, "b is not used");
        assert_eq!(
            wrong(&both.replace("a.workspace = true", "a = \"1\""), rows),
            1,
            "a version of its own"
        );
        assert_eq!(wrong(both, &rows.replace("| x |", "| |")), 1, "no reason");
        assert_eq!(wrong(both, &rows.replace("`a` | MIT", "`a` | GPL")), 1, "wrong licence");
        assert_eq!(wrong(both, &rows.replace("`a`", "`z`")), 2, "no row, and one too many");
    }
}
