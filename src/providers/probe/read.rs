//! An answer's body as data, and what is read in it. Whatever comes is read without harm: size is capped by the way out,
//! depth here, and there is no DTD.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::cloud::azure::Certificate;

/// Neither XML nor JSON: null, where every pointer leads nowhere.
pub fn body(bytes: &[u8]) -> Value {
    let Ok(text) = std::str::from_utf8(bytes) else { return Value::Null };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with('<') { xml(text) } else { serde_json::from_str(text).unwrap_or_default() }
}

/// A text, number or truth as itself; a list or map as its JSON; null as nothing.
pub fn text(body: &Value, pointer: &str) -> Option<String> {
    match body.pointer(pointer)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// More elements than any answer of a test has.
const MOST_NODES: u32 = 10_000;
const DEEPEST: usize = 32;

/// An element with elements inside is a map, another one its text. Those that come again stand in a list. The root's
/// name is the first part of every pointer.
fn xml(text: &str) -> Value {
    let options = roxmltree::ParsingOptions { nodes_limit: MOST_NODES, ..roxmltree::ParsingOptions::default() };
    let Ok(document) = roxmltree::Document::parse_with_options(text, options) else { return Value::Null };
    let root = document.root_element();
    Value::Object(Map::from_iter([(root.tag_name().name().to_owned(), element(root, 1))]))
}

fn element(node: roxmltree::Node<'_, '_>, depth: usize) -> Value {
    let mut members = Map::new();
    for child in node.children().filter(|child| child.is_element() && depth < DEEPEST) {
        let value = element(child, depth + 1);
        match members.get_mut(child.tag_name().name()) {
            None => {
                members.insert(child.tag_name().name().to_owned(), value);
            }
            Some(Value::Array(list)) => list.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    if members.is_empty() { Value::String(node.text().unwrap_or_default().trim().to_owned()) } else { members.into() }
}

/// As providers write the end of a credential. Nothing where it has none, or says so in no known way.
pub fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return epoch(number);
    }
    let zoned = match text.rsplit_once(' ') {
        Some((time, "UTC" | "GMT")) => format!("{time}Z"),
        Some((time, offset)) if offset.starts_with(['+', '-']) => format!("{time}{offset}"),
        _ => text.to_owned(),
    };
    bounded(zoned.parse().ok()?)
}

/// When the first certificate of a PEM ends.
pub fn certificate(pem: &str) -> Option<Timestamp> {
    bounded(Certificate::from_pem(pem)?.not_after)
}

/// Seconds of the year 5138 are milliseconds of 1973.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

fn epoch(number: i64) -> Option<Timestamp> {
    let moment = match number {
        ..=0 => None,
        FIRST_MILLISECONDS.. => Timestamp::from_millisecond(number).ok(),
        _ => Timestamp::from_second(number).ok(),
    };
    bounded(moment?)
}

/// The year 9999 is how X.509 and others write never.
fn bounded(moment: Timestamp) -> Option<Timestamp> {
    let never = jiff::civil::date(9998, 12, 31).to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(moment).filter(|moment| *moment < never)
}

/// What is shown: no control characters, nothing that breaks the line, turns it around or cannot be seen, and an end.
pub fn shown(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || ('\u{200b}'..='\u{200f}').contains(&c)
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2060}'..='\u{206f}').contains(&c)
            || ('\u{e0000}'..='\u{e007f}').contains(&c)
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    text.chars().filter(|c| !hostile(*c)).take(LONGEST_SHOWN).collect::<String>().trim().to_owned()
}

pub const LONGEST_SHOWN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_xml_is_read_by_its_elements_names() {
        let body = body(
            br#"<?xml version="1.0"?><R xmlns="https://x/"><E a="b"><Code> No </Code></E><m>1</m><m>2</m><e/></R>"#,
        );
        let read = |pointer| text(&body, pointer);
        assert_eq!(read("/R/E/Code").as_deref(), Some("No"));
        assert_eq!((read("/R/m/1").as_deref(), read("/R/e").as_deref()), (Some("2"), Some("")));
        assert_eq!((read("/E/Code"), read("/R/x")), (None, None));
    }

    #[test]
    fn an_answer_in_json_is_read_by_pointers() {
        let body = body(b"\xef\xbb\xbf {\"a\": {\"b\": [true, 1.5, \"t\", null]}, \"c/d\": 1}");
        let read = |pointer| text(&body, pointer);
        assert_eq!((read("/a/b/0").as_deref(), read("/a/b/1").as_deref()), (Some("true"), Some("1.5")));
        assert_eq!((read("/a/b/2").as_deref(), read("/a/b/3"), read("/a/b/4")), (Some("t"), None, None));
        assert_eq!((read("/c~1d").as_deref(), read("/a/b").as_deref()), (Some("1"), Some("[true,1.5,\"t\",null]")));
    }

    #[test]
    fn garbage_is_nothing() {
        let deep = "[".repeat(100_000);
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><x>&b;</x>";
        let many = format!("<x>{}</x>", "<y/>".repeat(MOST_NODES as usize));
        for garbage in ["", "<", "<html><p></html>", "nonsense", "{\"a\":", "{} {}", &deep, bomb, &many] {
            assert_eq!(body(garbage.as_bytes()), Value::Null, "{:.40}", garbage);
        }
        assert_eq!(body(b"\xff\xfe"), Value::Null);
        let tall = format!("{}x{}", "<y>".repeat(9000), "</y>".repeat(9000));
        assert!(body(tall.as_bytes()).is_object());
    }

    #[test]
    fn the_end_is_read_as_providers_write_it() {
        for (written, read) in [
            ("2030-01-31T00:00:00Z", Some("2030-01-31T00:00:00Z")),
            ("2030-01-31T01:00:00.000+01:00", Some("2030-01-31T00:00:00Z")),
            ("2030-01-31 00:00:00 UTC", Some("2030-01-31T00:00:00Z")),
            ("2030-01-31 01:00:00 +0100", Some("2030-01-31T00:00:00Z")),
            ("1895961600", Some("2030-01-30T00:00:00Z")),
            ("1895961600000", Some("2030-01-30T00:00:00Z")),
            ("-1", None),
            ("0", None),
            ("9999-12-31T23:59:59Z", None),
            ("253402300799000", None),
            ("99999999999999999999", None),
            ("9223372036854775807", None),
            ("never", None),
            ("", None),
            ("tomorrow UTC", None),
        ] {
            assert_eq!(moment(written).map(|moment| moment.to_string()).as_deref(), read, "{written}");
        }
    }

    #[test]
    fn what_is_shown_is_one_short_plain_line() {
        assert_eq!(shown(" a\u{1b}[31m\r\nb\u{202e}c "), "a[31mbc");
        assert_eq!(shown("a\u{2028}b\u{2029}c\u{feff}\u{61c}\u{ad}\u{2060}d\u{e0041}"), "abcd");
        assert_eq!(shown(&"ä".repeat(1000)).chars().count(), LONGEST_SHOWN);
    }
}
