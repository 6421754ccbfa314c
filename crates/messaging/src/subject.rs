//! Subjects: the grammar, and what it means that a pattern matches, covers or overlaps another.
//!
//! A subject is one or more tokens joined by `.`. In a pattern the token `*` stands for exactly one token
//! and a final `>` for one or more. A token such as `a*b` is literal.

/// A subject is at most this long, so that the control lines it appears in stay below their own limit.
pub const MAX_SUBJECT_LEN: usize = 3072;

/// A subject has at most this many tokens. Each costs a node of the subscription index, so that without a bound one
/// client could make it grow by thousands of nodes with one subscription; NATS itself advises 16 at most.
pub const MAX_TOKENS: usize = 32;

/// True for a subject or pattern with correct tokens: none empty, no white space, `>` only at the end.
pub fn is_valid(subject: &str) -> bool {
    if subject.is_empty() || subject.len() > MAX_SUBJECT_LEN {
        return false;
    }
    let mut tokens = subject.split('.').peekable();
    let mut count = 0;
    while let Some(token) = tokens.next() {
        count += 1;
        if count > MAX_TOKENS || token.is_empty() || (token == ">" && tokens.peek().is_some()) {
            return false;
        }
        if token.bytes().any(|b| b.is_ascii_whitespace() || b == 0) {
            return false;
        }
    }
    true
}

/// True when no token of `subject` is a wildcard.
pub fn is_literal(subject: &str) -> bool {
    // Most subjects contain neither character, so the tokens are looked at only when one does.
    if !subject.bytes().any(|b| b == b'*' || b == b'>') {
        return true;
    }
    !subject.split('.').any(|token| token == "*" || token == ">")
}

/// True for a valid subject that a message may be published on.
pub fn is_publishable(subject: &str) -> bool {
    is_valid(subject) && is_literal(subject)
}

/// True when `pattern` matches the literal `subject`.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut wanted = pattern.split('.');
    let mut given = subject.split('.');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(w), Some(g)) if w == "*" || w == g => {}
            _ => return false,
        }
    }
}

/// True when every subject that `narrow` matches is matched by `wide` too.
pub fn covers(wide: &str, narrow: &str) -> bool {
    let mut wide = wide.split('.');
    let mut narrow = narrow.split('.');
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(n)) if n != ">" => {}
            (Some(w), Some(n)) if w == n => {}
            _ => return false,
        }
    }
}

/// The pattern that matches exactly the subjects matched by both, or `None` when there are none.
pub fn intersection(a: &str, b: &str) -> Option<String> {
    let mut left = a.split('.');
    let mut right = b.split('.');
    let mut out: Vec<&str> = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(out.join(".")),
            (Some(">"), Some(r)) => {
                out.push(r);
                out.extend(right);
                return Some(out.join("."));
            }
            (Some(l), Some(">")) => {
                out.push(l);
                out.extend(left);
                return Some(out.join("."));
            }
            (Some("*"), Some(t)) | (Some(t), Some("*")) => out.push(t),
            (Some(l), Some(r)) if l == r => out.push(l),
            _ => return None,
        }
    }
}

/// True when some subject is matched by both patterns.
pub fn overlaps(a: &str, b: &str) -> bool {
    let mut left = a.split('.');
    let mut right = b.split('.');
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(l), Some(r)) if l == r || l == "*" || r == "*" => {}
            _ => return false,
        }
    }
}

/// The text before the first wildcard token: every subject matched by `pattern` starts with it.
pub fn literal_prefix(pattern: &str) -> &str {
    let mut end = 0;
    for token in pattern.split('.') {
        if token == "*" || token == ">" {
            return &pattern[..end];
        }
        end = (end + token.len() + 1).min(pattern.len());
    }
    pattern
}

/// True for a name of a stream, consumer or bucket: one token that can also stand inside a path.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '/' | '\\'))
}

/// A rename of subjects, as `to:` of an import makes it: what the wildcards of `from` matched is put
/// where the wildcards of `to` stand, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    from: Box<str>,
    to: Box<str>,
    identity: bool,
}

/// Why two patterns make no [`Mapping`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// One of both is no subject.
    #[error("{0:?} is not a valid subject")]
    Invalid(String),
    /// The wildcards differ, so that a subject could not be carried over.
    #[error("{from:?} and {to:?} need the same wildcards in the same order")]
    Wildcards {
        /// The side whose subjects arrive.
        from: String,
        /// The side that they are renamed to.
        to: String,
    },
}

impl Mapping {
    /// A mapping of what `from` matches to `to`.
    pub fn new(from: &str, to: &str) -> Result<Mapping, MappingError> {
        for side in [from, to] {
            if !is_valid(side) {
                return Err(MappingError::Invalid(side.to_owned()));
            }
        }
        let wildcards =
            |p: &str| p.split('.').filter(|t| *t == "*" || *t == ">").map(str::to_owned).collect::<Vec<_>>();
        if wildcards(from) != wildcards(to) {
            return Err(MappingError::Wildcards { from: from.to_owned(), to: to.to_owned() });
        }
        Ok(Mapping { from: from.into(), to: to.into(), identity: from == to })
    }

    /// The pattern of subjects that this mapping takes.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// The pattern of subjects that this mapping gives.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// The new name of `subject` (a subject or a pattern covered by [`Mapping::from`]), or `None` when
    /// this mapping does not take it.
    pub fn apply(&self, subject: &str) -> Option<String> {
        rename(&self.from, &self.to, subject, self.identity)
    }

    /// The old name of `subject`, a subject or pattern covered by [`Mapping::to`].
    pub fn revert(&self, subject: &str) -> Option<String> {
        rename(&self.to, &self.from, subject, self.identity)
    }
}

fn rename(from: &str, to: &str, subject: &str, identity: bool) -> Option<String> {
    if !covers(from, subject) {
        return None;
    }
    if identity {
        return Some(subject.to_owned());
    }
    let mut captures = Vec::new();
    let mut rest = subject;
    for token in from.split('.') {
        if token == ">" {
            captures.push(rest);
            break;
        }
        let (head, tail) = rest.split_once('.').unwrap_or((rest, ""));
        if token == "*" {
            captures.push(head);
        }
        rest = tail;
    }
    let mut captures = captures.into_iter();
    let tokens: Vec<&str> =
        to.split('.').map(|t| if t == "*" || t == ">" { captures.next().unwrap_or(t) } else { t }).collect();
    Some(tokens.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for good in ["a", "a.b", "*", ">", "a.*.b", "a.>", "a*b", "$JS.API.>", "ä.b"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.>.b", "a\tb", "a\r", "\u{0}"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
        assert!(is_literal("a*b.c>"));
        assert!(!is_literal("a.*"));
        assert!(!is_valid(&"x".repeat(MAX_SUBJECT_LEN + 1)));
        let tokens = |n| vec!["a"; n].join(".");
        assert!(is_valid(&tokens(MAX_TOKENS)) && !is_valid(&tokens(MAX_TOKENS + 1)));
    }

    #[test]
    fn covering_is_stricter_than_matching() {
        assert!(!covers("foo.*", "foo.>"));
        assert!(covers("foo.>", "foo.*.*"));
        assert!(!covers("foo.>", "foo"));
        assert!(!covers("foo.bar", "foo.*"));
    }

    #[test]
    fn mapping_moves_wildcards() {
        let map = Mapping::new("plenum.API.INFO.*", "$JS.API.INFO.*").expect("same wildcards");
        assert_eq!(map.apply("plenum.API.INFO.x").as_deref(), Some("$JS.API.INFO.x"));
        assert_eq!(map.revert("$JS.API.INFO.*").as_deref(), Some("plenum.API.INFO.*"));
        assert_eq!(map.apply("plenum.API.INFO"), None);
        let tail = Mapping::new("a.*.>", "b.*.x.>").expect("same wildcards");
        assert_eq!(tail.apply("a.1.2.3").as_deref(), Some("b.1.x.2.3"));
        assert!(Mapping::new("a.*", "b.>").is_err());
    }

    #[test]
    fn prefixes() {
        assert_eq!(literal_prefix("a.b.*"), "a.b.");
        assert_eq!(literal_prefix(">"), "");
        assert_eq!(literal_prefix("a.b"), "a.b");
    }
}
