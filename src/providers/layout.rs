//! Files that hold fields and are no JSON: a section of a configuration file, a table of one line, lines of an
//! environment. Nothing in them is expanded or run. Errors never quote.

use serde::Deserialize;
use zeroize::Zeroizing;

/// How a file may be written beside JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    Ini,
    Csv,
    Env,
}

impl Layout {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ini => "ini",
            Self::Csv => "csv",
            Self::Env => "env",
        }
    }
}

/// Names and values, in their order.
pub type Pairs = Vec<(Zeroizing<String>, Zeroizing<String>)>;

/// Reads a file in the first of these layouts that it looks like; nothing where it looks like none.
pub fn read(text: &str, allowed: &[Layout]) -> Option<Result<Pairs, String>> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', ';']))?;
    let layout = if first.starts_with('[') && first.ends_with(']') && !first.contains(['{', '"', ',']) {
        Layout::Ini
    } else if let Some((name, _)) = first.split_once('=')
        && !name.contains([',', '{', '"', '\''])
    {
        if allowed.contains(&Layout::Env) { Layout::Env } else { Layout::Ini }
    } else if first.contains(',') && !first.contains(['{', '[']) {
        Layout::Csv
    } else {
        return None;
    };
    allowed.contains(&layout).then(|| match layout {
        Layout::Ini => ini(text),
        Layout::Csv => csv(text),
        Layout::Env => env(text),
    })
}

/// One section. A line that is further in than the one before it belongs to that one's value.
fn ini(text: &str) -> Result<Pairs, String> {
    let mut sections: Vec<(&str, Pairs)> = vec![("", Pairs::new())];
    let mut indent = 0;
    for (number, line) in text.lines().enumerate() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = bare.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            sections.push((name.trim(), Pairs::new()));
            continue;
        }
        let Some((_, pairs)) = sections.last_mut() else { continue };
        let inwards = line.len() - line.trim_start().len();
        if let Some((_, value)) = pairs.last_mut()
            && inwards > indent
        {
            *value = Zeroizing::new([value.as_str(), "\n", bare].concat());
            continue;
        }
        let Some((name, value)) = bare.split_once('=') else {
            return Err(format!("has neither a section nor a NAME = value in line {}", number + 1));
        };
        indent = inwards;
        pairs.push((Zeroizing::new(name.trim().to_owned()), Zeroizing::new(value.trim().to_owned())));
    }
    sections.retain(|(_, pairs)| !pairs.is_empty());
    let fallback = sections.iter().position(|(name, _)| name.eq_ignore_ascii_case("default"));
    match (sections.len(), fallback) {
        (0, _) => Err("has no section with a value in it".into()),
        (1, _) => Ok(once(sections.swap_remove(0).1)?),
        (_, Some(section)) => Ok(once(sections.swap_remove(section).1)?),
        _ => Err("has several sections and none that is called default; send one of them".into()),
    }
}

/// A line of names and a line of values (RFC 4180).
fn csv(text: &str) -> Result<Pairs, String> {
    let mut rows = rows(text)?.into_iter().filter(|row| row.iter().any(|cell| !cell.trim().is_empty()));
    let (Some(names), Some(values)) = (rows.next(), rows.next()) else {
        return Err("must have a line of names and a line of values".into());
    };
    if rows.next().is_some() {
        return Err("has several lines of values; send one of them, with the line of names above it".into());
    }
    if names.len() != values.len() {
        return Err("has more or fewer values than names".into());
    }
    let trimmed = |text: Zeroizing<String>| Zeroizing::new(text.trim().to_owned());
    let pairs = names.into_iter().zip(values).map(|(name, value)| (trimmed(name), trimmed(value)));
    once(pairs.filter(|(_, value)| !value.is_empty()).collect())
}

fn rows(text: &str) -> Result<Vec<Vec<Zeroizing<String>>>, String> {
    let mut rows = vec![vec![room(text)]];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(row) = rows.last_mut() else { break };
        let Some(cell) = row.last_mut() else { break };
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                cell.push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(room(text)),
            '\r' if !quoted => {}
            '\n' if !quoted => rows.push(vec![room(text)]),
            other => cell.push(other),
        }
        if rows.len() > MAX_ROWS || rows.last().is_some_and(|row| row.len() > MAX_CELLS) {
            return Err("has more lines or columns than any credential".into());
        }
    }
    if quoted { Err("has a quote that does not end".into()) } else { Ok(rows) }
}

/// `NAME=value` lines, as shells and their like read them, but nothing is expanded.
fn env(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut start = 0;
    while let Some(line) = text.get(start..).and_then(|rest| rest.split('\n').next()).filter(|_| start < text.len()) {
        let end = start + line.len();
        let broken = |what: &str| format!("{what} in line {}", text[..start].matches('\n').count() + 1);
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with('#') {
            start = end + 1;
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| broken("has no NAME=value"))?;
        let name = name.trim();
        let name = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name).trim();
        let value_start = end - value.trim_start().len();
        let value = match value.trim_start().chars().next() {
            Some(quote @ ('"' | '\'')) => {
                // It may go on over several lines.
                let inside = &text[value_start + 1..];
                let (value, length) = quoted(inside, quote).ok_or_else(|| broken("has a quote that does not end"))?;
                let tail = inside[length..].split('\n').next().unwrap_or_default();
                if !matches!(tail.trim_start_matches([';', ' ', '\t', '\r']).chars().next(), None | Some('#')) {
                    return Err(broken("has something behind a closing quote"));
                }
                start = value_start + 1 + length + tail.len() + 1;
                value
            }
            _ => {
                start = end + 1;
                let value = value.split_once(" #").map_or(value, |(value, _)| value);
                Zeroizing::new(value.trim().to_owned())
            }
        };
        pairs.push((Zeroizing::new(name.to_owned()), value));
        if pairs.len() > MAX_CELLS {
            return Err("has more lines than any credential".into());
        }
    }
    once(pairs)
}

/// What stands before the closing quote, and where that ends. In double quotes a backslash escapes.
fn quoted(text: &str, quote: char) -> Option<(Zeroizing<String>, usize)> {
    let mut value = room(text);
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            end if end == quote => return Some((value, at + 1)),
            '\\' if quote == '"' => match characters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                escaped @ ('"' | '\\' | '$' | '`') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

fn once(pairs: Pairs) -> Result<Pairs, String> {
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) { Err("has a name twice".into()) } else { Ok(pairs) }
}

/// Room for all that can come, so that a buffer never moves and leaves a copy behind.
fn room(text: &str) -> Zeroizing<String> {
    Zeroizing::new(String::with_capacity(text.len()))
}

/// How shells of other kinds begin an assignment.
const PREFIXES: [&str; 5] = ["export ", "set ", "SET ", "$env:", "$Env:"];
const MAX_ROWS: usize = 8;
const MAX_CELLS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str, layout: Layout) -> Vec<(String, String)> {
        let pairs = read(text, &[layout]).expect("a layout").expect("readable");
        pairs.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn refusal(text: &str, layout: Layout) -> String {
        read(text, &[layout]).expect("a layout").err().unwrap_or_default()
    }

    fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn lines_of_an_environment_are_read_as_shells_do_and_nothing_is_expanded() {
        let text = "# keys\r\nexport A=one # a remark\r\nB = 'two $X # not one'\nC=\"th\\\"r\\nee\"; # yes\n\n$env:D=\"four\"\nset E=five#5\nF=\"six\nseven\"\nG=\n";
        let read = of(&[
            ("A", "one"),
            ("B", "two $X # not one"),
            ("C", "th\"r\nee"),
            ("D", "four"),
            ("E", "five#5"),
            ("F", "six\nseven"),
            ("G", ""),
        ]);
        assert_eq!(pairs(text, Layout::Env), read);
        assert_eq!(pairs("A=${HOME}`id`", Layout::Env), of(&[("A", "${HOME}`id`")]));
        assert_eq!(refusal("A=1\nB='2\n", Layout::Env), "has a quote that does not end in line 2");
        assert_eq!(refusal("A=1\nB='2' 3\n", Layout::Env), "has something behind a closing quote in line 2");
        assert_eq!(refusal("A=1\nsecret\n", Layout::Env), "has no NAME=value in line 2");
        assert_eq!(refusal("A=1\nA=2\n", Layout::Env), "has a name twice");
        assert_eq!(refusal(&"A=1\n".repeat(70), Layout::Env), "has more lines than any credential");
    }

    #[test]
    fn one_section_is_read_or_the_one_called_default() {
        let two = "[one]\na = 1\n[two]\na = 2\n";
        assert_eq!(refusal(two, Layout::Ini), "has several sections and none that is called default; send one of them");
        assert_eq!(pairs(&two.replace("two", "DEFAULT"), Layout::Ini), of(&[("a", "2")]));
        assert_eq!(pairs(&two.replace("[two]", "[empty]\n;").replace("a = 2", ""), Layout::Ini), of(&[("a", "1")]));
        assert_eq!(pairs("  [x]\r\n  a=b=c\r\n  ; no\r\n  d = e \r\n", Layout::Ini), of(&[("a", "b=c"), ("d", "e")]));
        assert_eq!(
            pairs("[x]\nkey = -B-\n  AA\n  -E-\nb = 1", Layout::Ini),
            of(&[("key", "-B-\nAA\n-E-"), ("b", "1")])
        );
        assert_eq!(pairs("a = 1\nb = 2", Layout::Ini), of(&[("a", "1"), ("b", "2")]));
        assert_eq!(refusal("[x]\nsecret\n", Layout::Ini), "has neither a section nor a NAME = value in line 2");
        assert_eq!(refusal("[x]\n", Layout::Ini), "has no section with a value in it");
        assert_eq!(refusal("[x]\na=1\na=2", Layout::Ini), "has a name twice");
    }

    #[test]
    fn a_table_has_one_line_of_values() {
        let quoted = "\"a\",\"b, c\",d\r\n\"1\",\"2\n\"\"3\"\"\",\r\n";
        assert_eq!(pairs(quoted, Layout::Csv), of(&[("a", "1"), ("b, c", "2\n\"3\"")]));
        assert_eq!(refusal("a,b\n", Layout::Csv), "must have a line of names and a line of values");
        assert_eq!(
            refusal("a,b\n1,2\n3,4\n", Layout::Csv),
            "has several lines of values; send one of them, with the line of names above it"
        );
        assert_eq!(refusal("a,b\n1,2,3\n", Layout::Csv), "has more or fewer values than names");
        assert_eq!(refusal("a,b\n\"1,2\n", Layout::Csv), "has a quote that does not end");
        assert_eq!(refusal(&",\n".repeat(40_000), Layout::Csv), "has more lines or columns than any credential");
    }

    #[test]
    fn what_looks_like_none_of_them_is_left_alone() {
        let all = [Layout::Ini, Layout::Csv, Layout::Env];
        for text in
            ["", "secret", "{\"a\": \"x=1,2\"}", "[{\"a\": 1}]", "-----BEGIN PRIVATE KEY-----", "# a=1\n", "[1,2]"]
        {
            assert!(read(text, &all).is_none(), "{text}");
        }
        assert!(read("a=1", &[Layout::Csv]).is_none());
        assert!(read("a,b\n1,2", &[Layout::Env]).is_none());
    }
}
