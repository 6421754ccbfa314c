//! What one client may publish and subscribe.

use std::time::Duration;

use crate::subject;

/// The subjects of one direction. An empty `allow` allows everything that `deny` does not cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Patterns that are allowed.
    pub allow: Vec<String>,
    /// Patterns that are not, even when allowed.
    pub deny: Vec<String>,
}

/// The right to answer requests that were received, whatever the publish rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowResponses {
    /// Answers per request; `None` is unlimited.
    pub max: Option<u32>,
    /// How long after the request.
    pub expires: Duration,
}

impl Default for AllowResponses {
    fn default() -> Self {
        AllowResponses { max: Some(1), expires: Duration::from_secs(120) }
    }
}

/// All rights of a client. The default is: everything in its account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// What it may publish.
    pub publish: Rules,
    /// What it may subscribe. An entry may be `"<subject> <queue>"` and then speaks of queue subscriptions only.
    pub subscribe: Rules,
    /// May it answer requests beyond `publish`?
    pub allow_responses: Option<AllowResponses>,
}

impl Permissions {
    /// Names the first entry that is no subject.
    pub fn check(&self) -> Result<(), String> {
        for (list, queues) in [
            (&self.publish.allow, false),
            (&self.publish.deny, false),
            (&self.subscribe.allow, true),
            (&self.subscribe.deny, true),
        ] {
            for entry in list {
                let (pattern, queue) = split_queue(entry);
                if !subject::is_valid(pattern) || queue.is_some_and(|q| !queues || !subject::is_valid(q)) {
                    return Err(format!("{entry:?} is not a valid subject"));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn may_publish(&self, subject: &str) -> bool {
        let rules = &self.publish;
        let allowed = if rules.allow.is_empty() {
            self.allow_responses.is_none()
        } else {
            rules.allow.iter().any(|p| subject::matches(p, subject))
        };
        allowed && !rules.deny.iter().any(|p| subject::matches(p, subject))
    }

    /// The whole of `pattern` must be allowed by one entry, and no entry of `deny` may cover it. What a
    /// deny entry merely overlaps is withheld message by message: see [`Permissions::withholds`].
    pub(crate) fn may_subscribe(&self, pattern: &str, queue: Option<&str>) -> bool {
        let rules = &self.subscribe;
        let mut plain = rules.allow.is_empty();
        let mut by_queue = None;
        for entry in &rules.allow {
            match split_queue(entry) {
                (allowed, None) => plain |= subject::covers(allowed, pattern),
                (allowed, Some(name)) => {
                    if let Some(queue) = queue
                        && subject::covers(allowed, pattern)
                    {
                        *by_queue.get_or_insert(false) |= subject::matches(name, queue);
                    }
                }
            }
        }
        // As soon as queue entries speak of this subject, they decide about queue subscriptions.
        let allowed = by_queue.unwrap_or(plain);
        allowed
            && !rules.deny.iter().any(|entry| match split_queue(entry) {
                (denied, None) => subject::covers(denied, pattern),
                (denied, Some(name)) => {
                    queue.is_some_and(|q| subject::matches(name, q)) && subject::covers(denied, pattern)
                }
            })
    }

    /// True when a subscription to `pattern` receives only part of its messages, so that each needs a look.
    pub(crate) fn filters(&self, pattern: &str) -> bool {
        self.subscribe.deny.iter().any(|entry| {
            let (denied, queue) = split_queue(entry);
            queue.is_none() && subject::overlaps(denied, pattern)
        })
    }

    /// True when a message on `subject` must not reach the client although its subscription matches.
    pub(crate) fn withholds(&self, subject: &str) -> bool {
        self.subscribe.deny.iter().any(|entry| {
            let (denied, queue) = split_queue(entry);
            queue.is_none() && subject::matches(denied, subject)
        })
    }

    /// May the client expect an answer on `reply`? Otherwise it could make others write there for it.
    pub(crate) fn may_use_reply(&self, reply: &str) -> bool {
        self.may_subscribe(reply, None) && !self.withholds(reply)
    }
}

fn split_queue(entry: &str) -> (&str, Option<&str>) {
    match entry.split_once(' ') {
        Some((pattern, queue)) => (pattern, Some(queue)),
        None => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(publish: &[&str], subscribe: &[&str], deny: &[&str]) -> Permissions {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        Permissions {
            publish: Rules { allow: own(publish), deny: own(deny) },
            subscribe: Rules { allow: own(subscribe), deny: own(deny) },
            allow_responses: None,
        }
    }

    #[test]
    fn a_subscription_must_be_a_true_subset() {
        let rights = rights(&[], &["foo.*", "bar.>"], &["bar.secret", "bar.deep.>"]);
        assert!(rights.may_subscribe("foo.a", None));
        assert!(!rights.may_subscribe("foo.>", None));
        assert!(rights.may_subscribe("bar.*.x", None));
        assert!(!rights.may_subscribe("bar.secret", None));
        assert!(!rights.may_subscribe("bar.deep.*", None));
        assert!(rights.may_subscribe("bar.>", None) && rights.filters("bar.>"));
        assert!(rights.withholds("bar.secret") && !rights.withholds("bar.open"));
    }

    #[test]
    fn queue_entries_decide_about_queues() {
        let rights = rights(&[], &["foo", "foo v1", "only q.*"], &[]);
        assert!(rights.may_subscribe("foo", None));
        assert!(rights.may_subscribe("foo", Some("v1")));
        assert!(!rights.may_subscribe("foo", Some("v2")));
        assert!(!rights.may_subscribe("only", None));
        assert!(rights.may_subscribe("only", Some("q.1")));
    }

    #[test]
    fn responses_alone_allow_nothing_else() {
        let mut all = Permissions::default();
        assert!(all.may_publish("x"));
        all.allow_responses = Some(AllowResponses::default());
        assert!(!all.may_publish("x"));
    }

    #[test]
    fn entries_are_checked() {
        assert!(rights(&["a b"], &[], &[]).check().is_err());
        assert!(rights(&[], &["a b"], &[]).check().is_ok());
        assert!(rights(&[], &["a..b"], &[]).check().is_err());
    }
}
