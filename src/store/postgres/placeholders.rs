//! `?` and `?N`, as the shared SQL writes places for values, in PostgreSQL's words: `$N`.

use std::borrow::Cow;

/// One pass over the text: to look up what was made of it before would cost as much.
pub fn numbered(sql: &str) -> Cow<'_, str> {
    if !sql.contains('?') {
        return Cow::Borrowed(sql);
    }
    let (mut made, mut rest) = (String::with_capacity(sql.len() + 16), sql);
    let mut highest = 0_u32;
    while let Some(at) = rest.find(['?', '\'', '"', '-', '/']) {
        made.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match rest.as_bytes() {
            [b'?', ..] => {
                let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
                // As SQLite counts: a place without a number is the one after the highest so far.
                let place = rest[1..=digits].parse().unwrap_or(highest + 1);
                highest = highest.max(place);
                made.push('$');
                made.push_str(&place.to_string());
                rest = &rest[1 + digits..];
                continue;
            }
            // A doubled quote inside ends one text and begins the next.
            [quote @ (b'\'' | b'"'), ..] => rest[1..].find(char::from(*quote)).map_or(rest.len(), |end| end + 2),
            [b'-', b'-', ..] => rest.find('\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ => 1,
        };
        made.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    made.push_str(rest);
    Cow::Owned(made)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_get_their_numbers() {
        for (sql, made) in [
            ("SELECT 1", "SELECT 1"),
            ("SELECT ?", "SELECT $1"),
            ("VALUES (?, ?, ?)", "VALUES ($1, $2, $3)"),
            ("a = ?1 AND b = ?2 OR c = ?1", "a = $1 AND b = $2 OR c = $1"),
            ("a = ?2 AND b = ? AND c = ?12", "a = $2 AND b = $3 AND c = $12"),
            ("a = '?' AND b = ?", "a = '?' AND b = $1"),
            ("a = 'it''s ?' AND b = ?", "a = 'it''s ?' AND b = $1"),
            (r#"SELECT "what?" FROM t WHERE a = ?"#, r#"SELECT "what?" FROM t WHERE a = $1"#),
            ("a = ? -- why?\nAND b = ?", "a = $1 -- why?\nAND b = $2"),
            ("a = ? /* why? */ AND b - 1 = ? / 2", "a = $1 /* why? */ AND b - 1 = $2 / 2"),
            ("a ->> 'x' = ?", "a ->> 'x' = $1"),
            ("a = 'open ?", "a = 'open ?"),
            ("?", "$1"),
        ] {
            assert_eq!(numbered(sql), made);
        }
    }

    proptest! {
        #[test]
        fn texts_in_quotes_stay(text in "[^']{0,20}", other in "[ a-z?]{0,20}") {
            let made = numbered(&format!("'{text}'{other}")).into_owned();
            let quoted = format!("'{text}'");
            prop_assert!(made.starts_with(&quoted));
            prop_assert!(!made[quoted.len()..].contains('?'));
        }

        #[test]
        fn nothing_makes_it_panic(sql in "\\PC{0,60}") {
            numbered(&sql);
        }
    }
}
