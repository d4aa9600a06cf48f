//! The house rules, held by a test each: they read the tree and need nothing else.
//!
//! Each rule is a plain function over text in `tests/tidy/`, with a test beside it that shows that
//! the rule catches what it is for; here the rules meet the real tree.

#![allow(clippy::expect_used, clippy::panic, reason = "a check that cannot be made has failed")]

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/packages.rs"]
mod packages;
#[path = "tidy/scan.rs"]
mod scan;
#[path = "tidy/sources.rs"]
mod sources;

/// Fails with all that is wrong at once.
#[track_caller]
fn holds(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}:\n  {}\n", wrong.join("\n  "));
}

/// Applies a rule to every Rust source.
fn each_source(rule: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    scan::rust_sources().iter().flat_map(|(path, text)| rule(path, text)).collect()
}

#[test]
fn engine_modules_import_only_what_the_table_allows() {
    let wrong = each_source(|path, text| {
        let engine = path.starts_with("engine/src/");
        if engine { imports::violations(imports::TABLE, path, text) } else { Vec::new() }
    });
    holds("the import table (tests/tidy/imports.rs, docs/architecture.md section 2)", &wrong);
}

#[test]
fn packages_depend_only_on_what_the_table_allows() {
    let members = packages::members(&scan::read("Cargo.toml"));
    assert!(!members.is_empty(), "the members in Cargo.toml were not understood");
    let check = |folder: &String| {
        packages::violations(folder, &scan::read(&format!("{folder}/Cargo.toml")))
    };
    let wrong: Vec<_> = members.iter().flat_map(check).collect();
    holds("the package table (tests/tidy/packages.rs, docs/architecture.md section 1)", &wrong);
}

#[test]
fn unsafe_lives_in_one_file() {
    holds("unsafe", &each_source(sources::unsafe_outside_its_files));
}

#[test]
fn nothing_is_a_stub_or_switched_off() {
    holds("stubs", &each_source(sources::stubs));
}

#[test]
fn notes_for_later_name_their_requirement() {
    let told = |path: &&String| {
        let plain = ["Makefile", ".ci/run"].contains(&path.as_str());
        plain || path.starts_with("scripts/") || path.ends_with(".rs") || path.ends_with(".toml")
    };
    let files = scan::files();
    let check = |path: &String| sources::unnumbered_notes(path, &scan::read(path));
    let wrong: Vec<_> = files.iter().filter(told).flat_map(check).collect();
    holds("notes for later", &wrong);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let check = |path: &String| sources::paths_of_a_machine(path, &scan::read_bytes(path));
    let wrong: Vec<_> = scan::files().iter().flat_map(check).collect();
    holds("paths of one machine", &wrong);
}

#[test]
fn every_source_says_what_it_is_for_and_stays_short() {
    holds("headers and length", &each_source(sources::headless_or_long));
}

#[test]
fn every_fixture_is_listed_and_used() {
    let (readme, files): (Vec<_>, Vec<_>) = scan::files()
        .into_iter()
        .filter_map(|path| path.strip_prefix("pcap-fixtures/").map(str::to_owned))
        .partition(|name| name == "README.md");
    let readme =
        if readme.is_empty() { String::new() } else { scan::read("pcap-fixtures/README.md") };
    let is_test = |path: &str| {
        let tells = path.starts_with("tests/") && !path.starts_with("tests/tidy");
        tells
            || path.starts_with("benches/")
            || path.ends_with("tests.rs")
            || path.contains("/tests/")
    };
    let sources = scan::rust_sources();
    let tests: String =
        sources.iter().filter(|(path, _)| is_test(path)).map(|(_, text)| text.as_str()).collect();
    holds("fixtures", &documents::fixtures(&readme, &files, &tests));
}

#[test]
fn the_status_is_complete_and_names_tests_that_exist() {
    let requirements = scan::read("docs/requirements.md");
    assert!(
        documents::requirement_numbers(&requirements).len() > 40,
        "the numbers in docs/requirements.md were not understood"
    );
    let files = scan::files();
    let read = |file: &str| files.iter().any(|found| found == file).then(|| scan::read(file));
    let wrong = documents::status(&requirements, &scan::read("docs/status.md"), read);
    holds("docs/status.md", &wrong);
}
