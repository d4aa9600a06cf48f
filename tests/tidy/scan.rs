//! Reading the tree: which files it has, and which of a Rust source's bytes are code.

use std::fs;
use std::path::{Path, PathBuf};

/// Root of the workspace.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests package lies in the workspace").to_path_buf()
}

/// Every file of the project, by its path from the root, sorted: what git would track, found
/// without asking git (a tarball has none, and git refuses another user's clone).
pub(crate) fn files() -> Vec<String> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project can be read") {
            let entry = entry.expect("a folder of the project can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().expect("a file of the project has a type");
            if kind.is_dir() {
                if !ignored_folder(&name) {
                    folders.push(entry.path());
                }
            } else if !name.ends_with(".profraw") {
                let path = entry.path();
                let path = path.strip_prefix(&root).expect("it was found below the root");
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// The same as `.gitignore` says, and git's own folder.
fn ignored_folder(name: &str) -> bool {
    name == ".git" || name == ".cache" || name == "target" || name.starts_with("target-")
}

/// The text of a file of the project.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The bytes of a file of the project.
pub(crate) fn read_bytes(path: &str) -> Vec<u8> {
    fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All Rust sources with their text.
pub(crate) fn rust_sources() -> Vec<(String, String)> {
    let rust = files().into_iter().filter(|path| path.ends_with(".rs"));
    rust.map(|path| (path.clone(), read(&path))).collect()
}

/// A Rust source taken apart, each part with the other's bytes blanked, so that line numbers stay.
pub(crate) struct Source {
    /// Everything but comments and the insides of string and character literals.
    pub(crate) code: String,
    /// The comments.
    pub(crate) comments: String,
}

/// Tells code from comments and literals.
pub(crate) fn split(text: &str) -> Source {
    let chars: Vec<char> = text.chars().collect();
    let mut source = Source { code: String::new(), comments: String::new() };
    let mut at = 0;
    while at < chars.len() {
        let (end, part) = next_part(&chars, at);
        for &c in &chars[at..end] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            source.code.push(if part == Part::Code { c } else { blank });
            source.comments.push(if part == Part::Comment { c } else { blank });
        }
        at = end;
    }
    source
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// End and kind of the part that begins at `at`.
fn next_part(chars: &[char], at: usize) -> (usize, Part) {
    let peek = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    match (peek(0), peek(1)) {
        ('/', '/') => {
            let len = chars[at..].iter().position(|&c| c == '\n');
            (len.map_or(chars.len(), |len| at + len), Part::Comment)
        }
        ('/', '*') => (block_comment_end(chars, at), Part::Comment),
        ('"', _) => (quoted_end(chars, at), Part::Literal),
        ('\'', '\\') => {
            let len = chars.iter().skip(at + 3).position(|&c| c == '\'');
            (len.map_or(chars.len(), |len| at + 3 + len + 1), Part::Literal)
        }
        ('\'', _) if peek(2) == '\'' => (at + 3, Part::Literal),
        (c, _) if is_word(c) => {
            let mut end = at;
            while end < chars.len() && is_word(chars[end]) {
                end += 1;
            }
            // r"", br#""#, cr"": the prefix belongs to the literal.
            let word: String = chars[at..end].iter().collect();
            let raw = matches!(word.as_str(), "r" | "br" | "cr")
                && matches!(chars.get(end), Some('"' | '#'));
            match raw.then(|| raw_string_end(chars, end)).flatten() {
                Some(end) => (end, Part::Literal),
                None => (end, Part::Code),
            }
        }
        _ => (at + 1, Part::Code),
    }
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut end = at;
    while end < chars.len() {
        match (chars[end], chars.get(end + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                end += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                end += 2;
                if depth == 0 {
                    return end;
                }
            }
            _ => end += 1,
        }
    }
    end
}

fn quoted_end(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != '"' {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

fn raw_string_end(chars: &[char], hashes_at: usize) -> Option<usize> {
    let hashes = chars[hashes_at..].iter().take_while(|&&c| c == '#').count();
    let body = hashes_at + hashes;
    if chars.get(body) != Some(&'"') {
        return None; // r#raw_identifier
    }
    let closes = |&end: &usize| {
        chars[end] == '"'
            && chars[end + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    (body + 1..chars.len()).find(closes).map(|end| end + 1 + hashes)
}

/// Numbers of the lines of `text` that hold `word` as a whole word.
pub(crate) fn lines_with_word(text: &str, word: &str) -> Vec<usize> {
    let holds = |line: &str| line.split(|c| !is_word(c)).any(|found| found == word);
    (1..).zip(text.lines()).filter(|(_, line)| holds(line)).map(|(number, _)| number).collect()
}

#[test]
fn code_comments_and_literals_are_told_apart() {
    let text = "let a = \"unsafe // no\"; // unsafe { }\nlet b = r#\"un\"safe\"#; /* x /* y */ z */ c('\\'', '\"', 'a', b'\\n');\nfn f<'a>(x: &'a str) {}";
    let source = split(text);
    assert!(!source.code.contains("unsafe"), "{}", source.code);
    assert!(source.comments.contains("unsafe { }") && source.comments.contains("z */"));
    assert!(source.code.contains("c(   ") && source.code.contains("fn f<'a>(x: &'a str) {}"));
    assert_eq!(source.code.lines().count(), 3);
    assert_eq!(lines_with_word("a\nunsafe_code\nx unsafe{", "unsafe"), [3]);
}

#[test]
fn the_tree_is_found() {
    let files = files();
    for file in ["Cargo.toml", "tests/tidy.rs", "engine/src/lib.rs", ".gitignore"] {
        assert!(files.iter().any(|found| found == file), "{file} was not found in the tree");
    }
}
