//! Policies for what is wanted most often.

use clap::Args;
use serde::Serialize;

use super::super::Context;
use super::super::error::Failure;
use super::super::values;
use super::super::view::Columns;
use crate::app::policy::template::{TEMPLATES, Values, render};

/// Write a policy for what is wanted most often. Without a name, or with `list`, list the templates.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom policy template service-stores --org acme > policy/acme.cedar")]
pub(super) struct Template {
    /// The template's name.
    name: Option<String>,

    /// The tenant.
    #[arg(long)]
    org: Option<String>,

    /// The caller's id, such as a token's.
    #[arg(long, value_name = "ID")]
    caller: Option<String>,

    /// What the caller's proof says; may be given several times.
    #[arg(long = "claim", value_name = "KEY=VALUE", value_parser = values::label)]
    claims: Vec<(String, String)>,

    /// Only this project.
    #[arg(long)]
    project: Option<String>,

    /// Only this provider.
    #[arg(long)]
    provider: Option<String>,

    /// Only in this phase of a run.
    #[arg(long)]
    phase: Option<String>,

    /// pipeline, service, operator or admin.
    #[arg(long)]
    role: Option<String>,

    /// The office's network, such as 10.0.0.0/8.
    #[arg(long, value_name = "CIDR")]
    network: Option<String>,

    /// The office's hours in UTC, such as 8-18.
    #[arg(long, value_name = "FROM-TO", value_parser = hours)]
    hours: Option<(u8, u8)>,

    /// How many seconds old a second factor may be [default: 300].
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u32>,
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    title: &'static str,
    asks: &'static str,
}

impl Template {
    pub fn run(self, context: &mut Context) -> Result<(), Failure> {
        let Some(name) = self.name.filter(|name| name != "list") else {
            let all: Vec<_> =
                TEMPLATES.iter().map(|it| Listed { name: it.name, title: it.title, asks: it.asks }).collect();
            let row = |it: &Listed| vec![it.name.to_owned(), it.title.to_owned(), it.asks.to_owned()];
            return context
                .out
                .show(&all, |all| Columns::new(&["TEMPLATE", "WHAT IT SAYS", "OPTIONS"]).page(all.iter().map(row)));
        };
        let values = Values {
            org: self.org,
            caller: self.caller,
            claims: self.claims,
            project: self.project,
            provider: self.provider,
            phase: self.phase,
            role: self.role,
            network: self.network,
            hours: self.hours,
            max_age: self.max_age,
        };
        let text = render(&name, &values).map_err(Failure::usage)?;
        context.out.text(&text)
    }
}

fn hours(text: &str) -> Result<(u8, u8), String> {
    let both = text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    both.ok_or_else(|| "hours look like 8-18".to_owned())
}
