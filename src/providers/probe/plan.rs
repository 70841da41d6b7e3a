//! A connection test that has been read: what to ask, and what the answers mean.

mod compile;
mod entry;
pub mod owner;
mod scope;

use std::collections::BTreeMap;

pub use compile::compile;
pub use entry::{AssertBy, Entry, Go, SignBy};
use http::{HeaderName, Method};
use zeroize::Zeroizing;

use super::Verdict;
use super::pattern::Pattern;
use super::template::{Address, Pointer, Template};
use crate::http::Hosts;

/// The test of a provider.
#[derive(Debug)]
pub struct Test {
    pub hosts: Hosts,
    pub names: Vec<Name>,
    pub steps: Vec<Step>,
}

/// A value that is taken out of another.
#[derive(Debug)]
pub struct Name {
    pub name: String,
    pub of: String,
    pub pattern: Option<Pattern>,
    pub replace: BTreeMap<String, String>,
    pub choose: Option<BTreeMap<String, String>>,
    pub default: Option<String>,
}

/// One request, and how its answer is read.
#[derive(Debug)]
pub struct Step {
    pub when: Vec<(String, Pattern)>,
    pub method: Method,
    pub address: Address,
    pub headers: Vec<(HeaderName, Template)>,
    pub basic: Option<(Template, Template)>,
    pub body: Body,
    pub assert: Option<Assert>,
    pub sign: Option<Sign>,
    pub answers: Vec<Answer>,
    pub keep: Vec<(String, Pointer)>,
    pub identity: Vec<(String, Where)>,
    pub expires: Option<Ends>,
}

#[derive(Debug)]
pub enum Body {
    None,
    Form(Vec<(String, Template)>),
    Json(Node),
}

/// JSON whose texts are templates.
#[derive(Debug)]
pub enum Node {
    Constant(serde_json::Value),
    Text(Template),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

#[derive(Clone, Debug)]
pub struct Assert {
    pub name: String,
    pub by: AssertBy,
    pub audience: Template,
    pub scope: Template,
}

#[derive(Clone, Debug)]
pub struct Sign {
    pub by: SignBy,
    pub service: Template,
    pub region: Template,
}

/// What a certain answer means.
#[derive(Debug)]
pub struct Answer {
    /// Any, where there are none.
    pub status: Vec<u16>,
    pub at: Vec<(Pointer, Pattern)>,
    pub lacks: Vec<Pointer>,
    pub headers: Vec<(HeaderName, Pattern)>,
    pub verdict: Verdict,
    pub reason: Option<&'static str>,
    pub hint: Option<String>,
    pub warn: Option<String>,
    pub go: Option<Go>,
}

/// Where something is read in an answer.
#[derive(Debug)]
pub enum Where {
    At(Pointer),
    Header(HeaderName),
    Said(Template),
}

/// Where an answer says when the credential ends.
#[derive(Debug)]
pub enum Ends {
    At(Pointer),
    Header(HeaderName),
    Certificate(Pointer),
}

impl Name {
    /// What a value holds under this name.
    pub fn take(&self, value: &str) -> Option<String> {
        let taken = match &self.pattern {
            Some(pattern) => pattern.take(value)?,
            None => value,
        };
        let mut taken = Zeroizing::new(taken.to_owned());
        for (text, with) in &self.replace {
            taken = Zeroizing::new(taken.replace(text, with));
        }
        match &self.choose {
            Some(choices) => choices.get(&*taken).cloned(),
            None => Some(std::mem::take(&mut taken)),
        }
    }
}

impl Step {
    /// Whether the answer depends on both sides agreeing what time it is.
    pub fn is_signed(&self) -> bool {
        self.assert.is_some() || self.sign.is_some()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub use tests::step;
