//! The subscription index of one account: a trie over subject tokens with a cache of results.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::subject;

/// Results kept before the cache starts anew. Subjects of a meeting repeat, so a small cache hits.
const CACHE_LIMIT: usize = 4096;

/// A queue group and its members.
pub(crate) type Queue<T> = (Arc<str>, Vec<T>);

/// Everything that one subject reaches.
#[derive(Debug)]
pub(crate) struct Matches<T> {
    /// Receivers that each get the message.
    pub(crate) plain: Vec<T>,
    /// Queue groups, of which one member each gets it.
    pub(crate) queues: Vec<Queue<T>>,
}

impl<T> Matches<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }
}

/// Patterns with what they lead to. `T` is a small handle; the same handle may appear under several patterns.
#[derive(Debug)]
pub(crate) struct Sublist<T> {
    root: Level<T>,
    cache: HashMap<Box<str>, Arc<Matches<T>>>,
    len: usize,
}

#[derive(Debug)]
struct Level<T> {
    literal: HashMap<Box<str>, Node<T>>,
    any: Option<Box<Node<T>>>,
    rest: Option<Box<Node<T>>>,
}

#[derive(Debug)]
struct Node<T> {
    plain: Vec<T>,
    queues: Vec<Queue<T>>,
    next: Level<T>,
}

impl<T> Default for Sublist<T> {
    fn default() -> Self {
        Sublist { root: Level::default(), cache: HashMap::new(), len: 0 }
    }
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Level { literal: HashMap::new(), any: None, rest: None }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node { plain: Vec::new(), queues: Vec::new(), next: Level::default() }
    }
}

impl<T> Level<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.any.is_none() && self.rest.is_none()
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty() && self.next.is_empty()
    }
}

impl<T: Copy + PartialEq> Sublist<T> {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds `value` under `pattern`, which the caller has validated.
    pub(crate) fn insert(&mut self, pattern: &str, queue: Option<&str>, value: T) {
        let mut level = &mut self.root;
        let mut tokens = pattern.split('.').peekable();
        while let Some(token) = tokens.next() {
            let node = match token {
                "*" => &mut **level.any.get_or_insert_default(),
                ">" => &mut **level.rest.get_or_insert_default(),
                _ => level.literal.entry(token.into()).or_default(),
            };
            if tokens.peek().is_none() {
                match queue {
                    None => node.plain.push(value),
                    Some(name) => match node.queues.iter_mut().find(|(q, _)| &**q == name) {
                        Some((_, members)) => members.push(value),
                        None => node.queues.push((name.into(), vec![value])),
                    },
                }
                break;
            }
            level = &mut node.next;
        }
        self.len += 1;
        self.forget(pattern);
    }

    /// Removes one `value` that was inserted under exactly this pattern and queue.
    pub(crate) fn remove(&mut self, pattern: &str, queue: Option<&str>, value: T) -> bool {
        let tokens: Vec<&str> = pattern.split('.').collect();
        let removed = remove_below(&mut self.root, &tokens, queue, value);
        if removed {
            self.len -= 1;
            self.forget(pattern);
        }
        removed
    }

    /// What the literal `subject` reaches.
    pub(crate) fn find(&mut self, subject: &str) -> Arc<Matches<T>> {
        if let Some(found) = self.cache.get(subject) {
            return Arc::clone(found);
        }
        let mut found = Matches { plain: Vec::new(), queues: Vec::new() };
        collect(&self.root, subject, &mut found);
        let found = Arc::new(found);
        if self.cache.len() >= CACHE_LIMIT {
            self.cache.clear();
        }
        self.cache.insert(subject.into(), Arc::clone(&found));
        found
    }

    /// The members below exactly this pattern: plain ones, and those of queue groups.
    pub(crate) fn exact(&self, pattern: &str) -> (&[T], &[Queue<T>]) {
        let mut level = &self.root;
        let mut tokens = pattern.split('.').peekable();
        while let Some(token) = tokens.next() {
            let node = match token {
                "*" => level.any.as_deref(),
                ">" => level.rest.as_deref(),
                _ => level.literal.get(token),
            };
            let Some(node) = node else { break };
            if tokens.peek().is_none() {
                return (&node.plain, &node.queues);
            }
            level = &node.next;
        }
        (&[], &[])
    }

    fn forget(&mut self, pattern: &str) {
        if subject::is_literal(pattern) {
            self.cache.remove(pattern);
        } else if !self.cache.is_empty() {
            self.cache.clear();
        }
    }
}

fn remove_below<T: Copy + PartialEq>(
    level: &mut Level<T>,
    tokens: &[&str],
    queue: Option<&str>,
    value: T,
) -> bool {
    let Some((&token, rest)) = tokens.split_first() else { return false };
    let node = match token {
        "*" => level.any.as_deref_mut(),
        ">" => level.rest.as_deref_mut(),
        _ => level.literal.get_mut(token),
    };
    let Some(node) = node else { return false };
    let removed = if rest.is_empty() {
        match queue {
            None => take(&mut node.plain, value),
            Some(name) => match node.queues.iter().position(|(q, _)| &**q == name) {
                None => false,
                Some(at) => {
                    let removed = take(&mut node.queues[at].1, value);
                    if node.queues[at].1.is_empty() {
                        node.queues.swap_remove(at);
                    }
                    removed
                }
            },
        }
    } else {
        remove_below(&mut node.next, rest, queue, value)
    };
    if removed && node.is_empty() {
        match token {
            "*" => level.any = None,
            ">" => level.rest = None,
            _ => {
                level.literal.remove(token);
            }
        }
    }
    removed
}

fn take<T: PartialEq>(list: &mut Vec<T>, value: T) -> bool {
    // From the back: connections that come and go are mostly the newest.
    match list.iter().rposition(|v| *v == value) {
        Some(at) => {
            list.remove(at);
            true
        }
        None => false,
    }
}

fn collect<T: Copy>(level: &Level<T>, subject: &str, found: &mut Matches<T>) {
    let (token, rest) = match subject.split_once('.') {
        Some((token, rest)) => (token, Some(rest)),
        None => (subject, None),
    };
    if let Some(node) = &level.rest {
        gather(node, found);
    }
    for node in [level.any.as_deref(), level.literal.get(token)].into_iter().flatten() {
        match rest {
            None => gather(node, found),
            Some(rest) => collect(&node.next, rest, found),
        }
    }
}

fn gather<T: Copy>(node: &Node<T>, found: &mut Matches<T>) {
    found.plain.extend_from_slice(&node.plain);
    for (name, members) in &node.queues {
        match found.queues.iter_mut().find(|(q, _)| q == name) {
            Some((_, all)) => all.extend_from_slice(members),
            None => found.queues.push((Arc::clone(name), members.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just("c"), Just("*")]
    }

    fn pattern() -> impl Strategy<Value = String> {
        (prop::collection::vec(token(), 1..4), any::<bool>()).prop_map(|(mut tokens, rest)| {
            if rest {
                tokens.push(">");
            }
            tokens.join(".")
        })
    }

    fn literal() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 1..5).prop_map(|t| t.join("."))
    }

    proptest! {
        /// The trie and its cache agree with a list that is searched pattern by pattern.
        #[test]
        fn agrees_with_a_plain_list(
            steps in prop::collection::vec((any::<bool>(), pattern(), prop::option::of(0u8..2), 0u8..4), 1..60),
            subjects in prop::collection::vec(literal(), 1..8),
        ) {
            let mut trie = Sublist::default();
            let mut model: Vec<(String, Option<String>, u8)> = Vec::new();
            for (add, pattern, queue, value) in steps {
                let queue = queue.map(|q| format!("q{q}"));
                if add {
                    trie.insert(&pattern, queue.as_deref(), value);
                    model.push((pattern, queue, value));
                } else {
                    let entry = (pattern, queue, value);
                    let at = model.iter().position(|e| *e == entry);
                    prop_assert_eq!(trie.remove(&entry.0, entry.1.as_deref(), value), at.is_some());
                    at.map(|at| model.remove(at));
                }
                prop_assert_eq!(trie.len(), model.len());
                for subject in &subjects {
                    let found = trie.find(subject);
                    let mut got: Vec<(Option<String>, u8)> = found.plain.iter().map(|v| (None, *v)).collect();
                    for (name, members) in &found.queues {
                        got.extend(members.iter().map(|v| (Some(name.to_string()), *v)));
                    }
                    let mut want: Vec<(Option<String>, u8)> = model.iter()
                        .filter(|(p, _, _)| crate::subject::matches(p, subject))
                        .map(|(_, q, v)| (q.clone(), *v)).collect();
                    got.sort();
                    want.sort();
                    prop_assert_eq!(got, want);
                }
            }
        }

        /// Covering, overlap and intersection agree with matching, over all short subjects.
        #[test]
        fn relations_follow_from_matching(a in pattern(), b in pattern()) {
            let tokens = ["a", "b", "c", "d"];
            let mut all: Vec<String> = Vec::new();
            let mut layer: Vec<String> = tokens.iter().map(ToString::to_string).collect();
            for _ in 0..5 {
                all.extend(layer.iter().cloned());
                layer = layer.iter().flat_map(|s| tokens.iter().map(move |t| format!("{s}.{t}"))).collect();
            }
            let m = |p: &str, s: &str| crate::subject::matches(p, s);
            prop_assert_eq!(crate::subject::overlaps(&a, &b), all.iter().any(|s| m(&a, s) && m(&b, s)));
            prop_assert_eq!(crate::subject::covers(&a, &b), all.iter().all(|s| !m(&b, s) || m(&a, s)));
            match crate::subject::intersection(&a, &b) {
                None => prop_assert!(!all.iter().any(|s| m(&a, s) && m(&b, s))),
                Some(both) => for s in &all {
                    prop_assert_eq!(m(&both, s), m(&a, s) && m(&b, s), "{}", s);
                },
            }
        }
    }
}
