//! What callers.toml must be beyond its shape: names that exist, callers that are somebody, and nobody let in by mistake.

use super::{Binding, Callers, Values, is_like, pattern};
use crate::authn::jwt::{Issuer, SUBJECT, Written};
use crate::authn::{mtls, token, unix};
use crate::vault::meant;
use crate::vault::{Action, check_name};

/// Proofs that need no `[[issuer]]`, and what may be asked of them.
const BUILT_IN: [(&str, &[&str], Check); 2] =
    [(mtls::FROM, mtls::ATTRIBUTES, mtls::check), (unix::FROM, unix::ATTRIBUTES, unix::check)];

/// Whether an attribute can ever have a value, where the last part of a pattern is an `x`.
type Check = fn(&str, &str) -> Result<(), &'static str>;

impl Callers {
    pub(super) fn add_issuer(&mut self, written: Written) -> Result<(), String> {
        let issuer = Issuer::new(written)?;
        if self.issuers.iter().any(|other| other.name == issuer.name) {
            return Err(format!("name: there is another issuer {}", issuer.name));
        }
        if let Some(other) = self.issuers.iter().find(|other| other.collides(&issuer)) {
            return Err(format!(
                "audience: the issuer {} has the same `issuer` and one of the same audiences",
                other.name
            ));
        }
        self.issuers.push(issuer);
        Ok(())
    }

    pub(super) fn add_caller(&mut self, caller: Binding) -> Result<(), String> {
        let name = &caller.name;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err("name: must not be empty, and have no control characters".to_owned());
        }
        if self.callers.iter().any(|other| other.name == *name) {
            return Err(format!("name: there is another caller `{name}`"));
        }
        caller.check_when()?;
        match self.issuers.iter().find(|issuer| issuer.name == caller.from) {
            Some(issuer) => caller.check_against(issuer)?,
            None => match BUILT_IN.iter().find(|(name, ..)| *name == caller.from) {
                Some((_, known, check)) => caller.check_values(known, *check)?,
                None => {
                    let built_in = BUILT_IN.iter().map(|(name, ..)| *name);
                    let known = self.issuers.iter().map(|issuer| issuer.name.as_str()).chain(built_in);
                    let meant = meant(&caller.from, known);
                    return Err(format!("from: `{}` is no [[issuer]]'s name, mtls or unix{meant}", caller.from));
                }
            },
        }
        caller.check_rights()?;
        for other in &self.callers {
            for (one, same) in [(other, &caller), (&caller, other)] {
                if one.covers(same) {
                    let why = format!(
                        "when: whoever fits `{}` fits `{}` too, and where two fit nobody comes in: say how they differ",
                        same.name, one.name
                    );
                    return Err(why);
                }
            }
        }
        self.callers.push(caller);
        Ok(())
    }
}

impl Binding {
    /// Whether the other's callers all fit here as well.
    fn covers(&self, other: &Self) -> bool {
        let covered = |(name, values): (&String, &Values)| {
            other.when.get(name).is_some_and(|others| others.all().all(|value| values.cover(value)))
        };
        self.from == other.from && self.when.iter().all(covered)
    }

    fn check_when(&self) -> Result<(), String> {
        if self.when.is_empty() {
            return Err("when: must ask for something, or everybody would be this caller".to_owned());
        }
        for (attribute, values) in &self.when {
            if values.all().next().is_none() || values.all().any(str::is_empty) {
                return Err(format!("when: {attribute} must have a value, and none that is empty"));
            }
            let odd = |value: &&str| pattern(value).unwrap_or(value).contains('*');
            if let Some(value) = values.all().find(odd) {
                return Err(format!(
                    "when: {attribute} = `{value}`: a `*` stands at the end, behind `/` or `:`, or nowhere"
                ));
            }
        }
        Ok(())
    }

    fn check_values(&self, known: &[&str], check: Check) -> Result<(), String> {
        for (attribute, values) in &self.when {
            if !known.contains(&attribute.as_str()) {
                let meant = meant(attribute, known.iter().copied());
                return Err(format!("when: {} has no attribute `{attribute}`{meant}", self.from));
            }
            for value in values.all() {
                let sample = pattern(value).map_or_else(|| value.to_owned(), |start| format!("{start}x"));
                check(attribute, &sample).map_err(|why| format!("when: {attribute} = `{value}` {why}"))?;
            }
        }
        Ok(())
    }

    fn check_against(&self, issuer: &Issuer) -> Result<(), String> {
        let known = issuer.attributes();
        if let Some(unknown) = self.when.keys().find(|name| !known.contains(name.as_str())) {
            let meant = meant(unknown, known);
            return Err(format!("when: the issuer {} has no attribute `{unknown}`{meant}", issuer.name));
        }
        let says_whose = |name: &str| {
            // A pattern that every subject of the issuer fits tells nobody apart.
            let tells = |value: &str| name != SUBJECT || pattern(value).is_none_or(|start| start != issuer.common);
            self.when.get(name).is_some_and(|values| values.all().all(tells))
        };
        if !issuer.tenancy.is_empty() && !issuer.tenancy.iter().any(|name| says_whose(name)) {
            return Err(format!(
                "when: everybody can have a token of {}: say whose, by {}",
                issuer.issuer,
                issuer.tenancy.join(", ")
            ));
        }
        Ok(())
    }

    fn check_rights(&self) -> Result<(), String> {
        token::check(&self.role, &self.org, &self.providers).map_err(|error| error.to_string())?;
        if self.org != "*" {
            check_name("org", &self.org).map_err(|error| error.to_string())?;
        }
        for action in &self.actions {
            if !Action::ALL.iter().any(|known| known.as_str() == action) {
                let meant = meant(action, Action::ALL.iter().map(|known| known.as_str()));
                return Err(format!("actions: there is no action `{action}`{meant}"));
            }
        }
        Ok(())
    }
}

impl Values {
    /// Whether whatever this value or pattern stands for is one of ours.
    fn cover(&self, value: &str) -> bool {
        let covers = |one: &str| match (pattern(one), pattern(value)) {
            (Some(start), Some(other)) => other.starts_with(start),
            (None, Some(_)) => false,
            (_, None) => is_like(one, value),
        };
        self.all().any(covers)
    }
}
