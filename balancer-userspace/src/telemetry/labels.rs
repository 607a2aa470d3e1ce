//! The labels of a series, left as the page has them: of a hundred series a preset asks for a few.

use std::borrow::Cow;
use std::iter;

/// Labels and their values, in the order of the page: what stands between the braces, the closing one included, or
/// nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels<'a>(&'a str);

impl<'a> Labels<'a> {
    /// The labels that `text` begins with, after the opening brace, and what follows the closing one; `None` when they
    /// are none.
    pub(super) fn parse(text: &'a str) -> Option<(Self, &'a str)> {
        let mut rest = without_blanks(text);
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                return Some((Self(&text[..text.len() - after.len()]), after));
            }
            (_, rest) = first(rest)?;
        }
    }

    /// Each name with its value.
    pub(super) fn iter(self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
        self.as_written().map(|(label, value)| (label, unescaped(value)))
    }

    /// The value of one label.
    pub(super) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.as_written().find(|(label, _)| *label == name).map(|(_, value)| unescaped(value))
    }

    fn as_written(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = without_blanks(self.0);
        iter::from_fn(move || {
            let (label, after) = first(rest)?;
            rest = after;
            Some(label)
        })
    }
}

/// The first label with its value as it is written, and what follows them and their comma; `None` when there is none.
fn first(text: &str) -> Option<((&str, &str), &str)> {
    let end = text.bytes().position(|byte| !is_name_byte(byte))?;
    let (label, rest) = text.split_at(end);
    let value = without_blanks(without_blanks(rest).strip_prefix('=')?).strip_prefix('"')?;
    let end = closing_quote(value)?;
    let rest = without_blanks(&value[end + 1..]);
    let rest = match rest.strip_prefix(',') {
        Some(rest) => without_blanks(rest),
        None if rest.starts_with('}') => rest,
        None => return None,
    };
    if label.is_empty() { None } else { Some(((label, &value[..end]), rest)) }
}

/// Where a value ends, if all that is escaped in it may be.
fn closing_quote(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    loop {
        match bytes.next()? {
            (at, b'"') => return Some(at),
            (_, b'\\') if !matches!(bytes.next()?.1, b'n' | b'\\' | b'"') => return None,
            _ => {}
        }
    }
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some(escaped) => escaped,
                None => '\\',
            },
            c => c,
        });
    }
    Cow::Owned(plain)
}

/// Whether a byte may stand in the name of a metric or a label.
pub(super) const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn without_blanks(text: &str) -> &str {
    &text[text.bytes().take_while(|byte| is_blank(*byte)).count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_in_the_page() {
        let (labels, rest) = Labels::parse(" a=\"b\" , c = \"d \\\"e\\\" \\\\ \\n }\",} 1").unwrap();
        let pairs: Vec<_> = labels.iter().collect();
        assert_eq!(pairs, [("a", Cow::Borrowed("b")), ("c", Cow::Borrowed("d \"e\" \\ \n }"))]);
        assert_eq!((labels.get("a"), labels.get("b")), (Some(Cow::Borrowed("b")), None));
        assert_eq!(rest, " 1");
        assert_eq!(Labels::parse("} 2").map(|(labels, rest)| (labels.iter().count(), rest)), Some((0, " 2")));
        assert_eq!(Labels::default().iter().count(), 0);
    }

    #[test]
    fn what_are_no_labels_is_refused() {
        for text in [
            "",
            "a}",
            "a=1}",
            "a=\"b\"",
            "a=\"b}",
            "a=\"\\q\"}",
            "=\"b\"}",
            "a=\"b\" c=\"d\"}",
            "é=\"b\"}",
            "a=\"\\",
        ] {
            assert_eq!(Labels::parse(text), None, "{text}");
        }
    }
}
