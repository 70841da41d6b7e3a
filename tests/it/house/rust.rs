//! As much of Rust's grammar as the house's rules need: what is code, what it imports, what is a test.

/// A file of `src`: its path there, and its code with comments and the insides of literals blanked, line for line.
pub struct Source {
    pub path: String,
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), code: blank(text) }
    }
}

fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let len = match rest {
            [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => block_comment(rest),
            [b'"', ..] => quoted(rest),
            [b'b' | b'c', b'"', ..] if !in_word => 1 + quoted(&rest[1..]),
            [b'r', b'"' | b'#', ..] if !in_word => raw(rest).unwrap_or(0),
            [b'b' | b'c', b'r', b'"' | b'#', ..] if !in_word => raw(&rest[1..]).map_or(0, |len| len + 1),
            [b'\'', ..] => character(rest),
            _ => 0,
        };
        code[at..at + len].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at += len.max(1);
    }
    String::from_utf8(code).expect("blanked whole literals")
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// None when it is a raw identifier.
fn raw(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let from = 2 + hashes;
    let found = rest[from..].windows(end.len()).position(|window| window == end);
    Some(found.map_or(rest.len(), |position| from + position + end.len()))
}

/// Nothing of a lifetime.
fn character(rest: &[u8]) -> usize {
    match rest {
        [_, b'\\', ..] => 4 + rest[3..].iter().position(|byte| *byte == b'\'').unwrap_or(0),
        _ => {
            let len = match rest.get(1) {
                Some(0xf0..) => 4,
                Some(0xe0..) => 3,
                Some(0xc0..) => 2,
                _ => 1,
            };
            if rest.get(1 + len) == Some(&b'\'') { len + 2 } else { 0 }
        }
    }
}

/// The modules of the crate's root that a file names, with the lines: by `crate::`, by `strongroom::`, and by enough
/// `super::` to get there.
pub fn imports(source: &Source) -> Vec<(usize, String)> {
    let tokens = tokens(&source.code);
    let own_depth = match source.path.trim_end_matches(".rs") {
        "main" | "lib" => 0,
        path => path.trim_end_matches("/mod").split('/').count(),
    };
    let mut found = Vec::new();
    // For every open brace: whether a module opened it.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let word = |offset: usize| tokens.get(at + offset).map_or("", |(_, word)| *word);
        match word(0) {
            "{" => braces.push(at >= 2 && tokens[at - 2].1 == "mod"),
            "}" => drop(braces.pop()),
            "crate" | "strongroom" if word(1) == "::" => firsts(&tokens[at + 2..], &mut found),
            "super" if at == 0 || tokens[at - 1].1 != "::" => {
                let ups = (0..).take_while(|n| word(n * 2) == "super" && word(n * 2 + 1) == "::").count();
                if ups > 0 && ups == own_depth + braces.iter().filter(|module| **module).count() {
                    firsts(&tokens[at + ups * 2..], &mut found);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The first name, or the first names of a group.
fn firsts(tokens: &[(usize, &str)], found: &mut Vec<(usize, String)>) {
    let mut depth = 0;
    let mut expected = true;
    for (line, word) in tokens {
        match *word {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => expected = true,
            name if expected && name != "::" => {
                found.push((*line, name.to_owned()));
                expected = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

fn tokens(code: &str) -> Vec<(usize, &str)> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let len = if part(first) {
                rest.find(|c| !part(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push((number + 1, &rest[..len]));
            rest = rest[len..].trim_start();
        }
    }
    tokens
}

/// With every item under `#[cfg(test)]` blanked.
pub fn without_tests(source: Source) -> Source {
    const MARK: &str = "#[cfg(test)]";
    let mut code = source.code;
    while let Some(start) = code.find(MARK) {
        let end = item_end(&code, start + MARK.len());
        let blanked: String = code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blanked);
    }
    Source { code, ..source }
}

/// The end of an item: its closing brace, or its semicolon when it has no body.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, c) in code[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return from + offset + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return from + offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// The files that a source declares as `#[cfg(test)] mod name;`.
pub fn test_files(source: &Source) -> Vec<String> {
    let folder = match source.path.trim_end_matches(".rs") {
        "lib" | "main" => String::new(),
        path => format!("{}/", path.trim_end_matches("/mod")),
    };
    let tokens = tokens(&source.code);
    let words: Vec<&str> = tokens.iter().map(|(_, word)| *word).collect();
    let declared = words.windows(10).filter_map(|window| match window {
        ["#", "[", "cfg", "(", "test", ")", "]", "mod", name, ";"] => Some(*name),
        _ => None,
    });
    declared.flat_map(|name| [format!("{folder}{name}.rs"), format!("{folder}{name}/mod.rs")]).collect()
}

#[test]
fn what_is_no_code_is_blanked() {
    let text =
        "a // b\nc /* d /* e */ f */ g \"h\\\" i\" r#\"j \" k\"# 'l' '\\'' '\\u{6d}' n::<'o>(b\"p\", br\"q\") r#s 'é'";
    assert_eq!(blank(text).split_whitespace().collect::<Vec<_>>(), ["a", "c", "g", "n::<'o>(", ",", ")", "r#s"]);
    assert_eq!(blank(text).lines().count(), 2);
}

#[test]
fn files_of_tests_are_found() {
    let source = Source::new("vault/mod.rs", "mod a;\n#[cfg(test)]\nmod tests;\nfn f() {}");
    assert_eq!(test_files(&source), ["vault/tests.rs", "vault/tests/mod.rs"]);
}
