//! What the documents say of the tree, held against the tree.

use crate::sources::is_requirement;

/// Wrong entries of `pcap-fixtures/README.md`: `readme` is its text, `files` the folder's other
/// files, `tests` the joined text of all tests. A test names a fixture by its file name, or by
/// the same without the ending, in quotes.
pub(crate) fn fixtures(readme: &str, files: &[String], tests: &str) -> Vec<String> {
    let listed = listed_fixtures(readme);
    let mut wrong = Vec::new();
    for file in files {
        match listed.iter().filter(|name| *name == file).count() {
            1 => {}
            0 => wrong.push(format!("pcap-fixtures/README.md has no line for `{file}`")),
            lines => wrong.push(format!("pcap-fixtures/README.md has {lines} lines for `{file}`")),
        }
        let stem = file.rsplit_once('.').map_or(file.as_str(), |(stem, _)| stem);
        if !tests.contains(file.as_str()) && !tests.contains(&format!("\"{stem}\"")) {
            wrong.push(format!("pcap-fixtures/{file}: no test names it; what does it prove?"));
        }
    }
    for name in listed.iter().filter(|name| !files.contains(name)) {
        wrong.push(format!("pcap-fixtures/README.md lists `{name}`, which does not exist"));
    }
    wrong
}

/// The first capture's name on each line of a list or table.
fn listed_fixtures(readme: &str) -> Vec<String> {
    let entries = readme.lines().map(str::trim).filter(|line| line.starts_with(['|', '-', '*']));
    let named = entries.filter_map(|line| {
        let mut quoted = line.split('`').skip(1).step_by(2);
        quoted.find(|name| name.ends_with(".pcap") || name.ends_with(".pcapng"))
    });
    named.map(str::to_owned).collect()
}

/// One row of the table in `docs/status.md`: `| E1 | met | proof or what is missing |`.
pub(crate) struct Status {
    pub(crate) requirement: String,
    pub(crate) state: String,
    /// `file.rs::function` of each test that is named.
    pub(crate) tests: Vec<String>,
    pub(crate) says: String,
}

pub(crate) fn status_rows(status: &str) -> Vec<Status> {
    let rows = status.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let requirement = cells.next().filter(|cell| is_requirement(cell))?.to_owned();
        let state = cells.next().unwrap_or_default().to_owned();
        let says = cells.next().unwrap_or_default().to_owned();
        let quoted = says.split('`').skip(1).step_by(2);
        let tests = quoted.filter(|text| text.contains(".rs::")).map(str::to_owned).collect();
        Some(Status { requirement, state, tests, says })
    });
    rows.collect()
}

/// Numbers of the list in `docs/requirements.md`: `- E1 Full RFC 2131 client: …`.
pub(crate) fn requirement_numbers(requirements: &str) -> Vec<String> {
    let words = requirements.lines().filter_map(|line| line.strip_prefix("- ")?.split(' ').next());
    words.filter(|word| is_requirement(word)).map(str::to_owned).collect()
}

/// Wrong rows of `docs/status.md`; `read` answers a file's text, if it exists.
pub(crate) fn status(
    requirements: &str,
    status: &str,
    read: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let numbers = requirement_numbers(requirements);
    let rows = status_rows(status);
    let mut wrong = Vec::new();
    for number in &numbers {
        match rows.iter().filter(|row| row.requirement == *number).count() {
            1 => {}
            rows => wrong.push(format!("{number} has {rows} rows; each requirement has one")),
        }
    }
    for row in &rows {
        let number = &row.requirement;
        if !numbers.contains(number) {
            wrong.push(format!("{number} is not in docs/requirements.md"));
        }
        match row.state.as_str() {
            "met" | "partly" if row.tests.is_empty() => {
                wrong.push(format!("{number} is {}: by which test? `tests/x.rs::name`", row.state));
            }
            "met" | "partly" => {}
            "not yet" if row.says.is_empty() => {
                wrong.push(format!("{number} is not yet met: say why, or which issue brings it"));
            }
            "not yet" => {}
            other => wrong.push(format!("{number} is `{other}`: say met, partly or not yet")),
        }
        for test in &row.tests {
            let (file, function) = test.split_once("::").unwrap_or((test, ""));
            let name = function.rsplit("::").next().unwrap_or_default();
            match read(file) {
                None => wrong.push(format!("{number} names {test}, but there is no {file}")),
                Some(text) if !text.contains(&format!("fn {name}(")) => {
                    wrong.push(format!("{number} names {test}, but {file} has no `fn {name}(`"));
                }
                Some(_) => {}
            }
        }
    }
    wrong
}

#[test]
fn fixtures_that_lie_about_are_caught() {
    let readme = "# Fixtures\n| `a.pcap` | dnsmasq |\n- `b.pcapng`: Kea, beside `a.pcap`\n";
    let files = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let tests = "replay(\"a.pcap\"); replay(\"b\");";
    let both = files(&["a.pcap", "b.pcapng"]);
    assert!(fixtures(readme, &both, tests).is_empty(), "{:?}", fixtures(readme, &both, tests));
    assert_eq!(fixtures("", &both, tests).len(), 2, "not listed");
    assert_eq!(fixtures(readme, &files(&["a.pcap"]), tests).len(), 1, "listed but gone");
    assert_eq!(fixtures(readme, &both, "replay(\"a.pcap\")").len(), 1, "in no test");
    assert_eq!(fixtures(&readme.repeat(2), &both, tests).len(), 2, "listed twice");
}

#[test]
fn a_status_that_is_not_true_is_caught() {
    let requirements = "# What\n- E1 Full client\n- E2 Contents (see E1)\nE3 is no list item\n";
    let read = |file: &str| (file == "tests/a.rs").then(|| "#[test]\nfn binds() {}".to_owned());
    let caught = |rows: &str| status(requirements, rows, read).len();
    let good = "| E1 | met | `tests/a.rs::binds` |\n";
    assert_eq!(caught(&format!("{good}| E2 | not yet | issue 3 |")), 0);
    assert_eq!(caught(&format!("{good}| E2 | partly | `tests/a.rs::binds`; no DECLINE |")), 0);
    assert_eq!(caught(good), 1, "E2 is missing");
    for row in [
        "| E2 | not yet | |",
        "| E2 | done | `tests/a.rs::binds` |",
        "| E2 | met | surely |",
        "| E2 | partly | half of it |",
        "| E2 | met | `tests/a.rs::releases` |",
        "| E2 | met | `tests/b.rs::binds` |",
        "| E2 | not yet | later |\n| E2 | not yet | later |",
        "| E2 | not yet | later |\n| E9 | not yet | later |",
    ] {
        assert_eq!(caught(&format!("{good}{row}")), 1, "not caught: {row}");
    }
}
