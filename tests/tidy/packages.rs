//! Which package of the workspace may depend on which.

/// The table of `docs/architecture.md`, section 1: folder, package, and the packages of ours that
/// it may depend on. `engine` and `linkctl` never see each other.
pub(crate) const TABLE: &[(&str, &str, &[&str])] = &[
    ("engine", "lessee-engine", &[]),
    ("linkctl", "lessee-linkctl", &[]),
    ("lab", "lessee-lab", &["lessee-engine", "lessee-linkctl"]),
    ("cli", "lessee", &["lessee-engine", "lessee-linkctl", "lessee-lab"]),
    ("ipam-plugin", "lessee-ipam-plugin", &["lessee-engine", "lessee-linkctl"]),
    ("tests", "lessee-tests", ALL),
    ("benches", "lessee-benches", ALL),
];

const ALL: &[&str] = &[
    "lessee",
    "lessee-engine",
    "lessee-linkctl",
    "lessee-lab",
    "lessee-ipam-plugin",
    "lessee-tests",
];

/// Wrong dependencies of one package's `Cargo.toml`, those of its tests included.
pub(crate) fn violations(folder: &str, manifest: &str) -> Vec<String> {
    let Some((_, package, allowed)) = TABLE.iter().find(|row| row.0 == folder) else {
        return vec![format!(
            "{folder}: a new package; say in tests/tidy/packages.rs and in section 1 of \
             docs/architecture.md which packages it may depend on"
        )];
    };
    let ours =
        dependencies(manifest).into_iter().filter(|name| name.split('-').next() == Some("lessee"));
    let wrong = ours.filter(|name| name != package && !allowed.contains(&name.as_str()));
    wrong
        .map(|name| format!("{folder}/Cargo.toml: `{package}` may not depend on `{name}`"))
        .collect()
}

/// Members of the root manifest.
pub(crate) fn members(manifest: &str) -> Vec<String> {
    let list = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let names = list.map_or("", |(list, _)| list).split('"').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// Names in every `[…dependencies]` section, and in the form `[dependencies.name]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut listing = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            listing = section.ends_with("dependencies");
            if let Some((_, name)) = section.split_once("dependencies.") {
                names.push(name.to_owned());
            }
        } else if listing {
            let name: String = line.chars().take_while(|c| !" .=".contains(*c)).collect();
            if !name.is_empty() && !name.starts_with('#') {
                names.push(name);
            }
        }
    }
    names
}

#[test]
fn a_forbidden_dependency_is_caught_however_it_is_written() {
    for manifest in [
        "[package]\nname = \"x\"\n[dependencies]\nlibc = \"1\"\nlessee-linkctl.workspace = true",
        "[dev-dependencies]\nlessee-linkctl = { path = \"../linkctl\" }",
        "[target.'cfg(unix)'.dependencies]\nlessee-linkctl = \"1\"",
        "[dependencies.lessee-linkctl]\npath = \"x\"",
    ] {
        assert_eq!(violations("engine", manifest).len(), 1, "not caught: {manifest}");
        assert_eq!(violations("lab", manifest).len(), 0, "wrongly caught: {manifest}");
    }
    assert_eq!(violations("linkctl", "[dependencies]\nlessee-engine.workspace = true").len(), 1);
    assert_eq!(violations("lab", "[dependencies]\nlessee.workspace = true").len(), 1);
    assert_eq!(violations("novelty", "").len(), 1);
    assert!(violations("engine", "[package]\nname = \"lessee-linkctl\"\n[features]").is_empty());
    assert_eq!(members("[workspace]\nmembers = [\"a\", \"b\"]\n[x]"), ["a", "b"]);
}
