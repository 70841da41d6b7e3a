//! What is known about a credential and is no secret.

use clap::Args;

use super::Context;
use super::credentials::{Target, present};
use super::error::Failure;
use super::{values, view};
use crate::pb::v1::{Labels, UpdateMetadataRequest};

/// Change a credential's metadata or labels, or stop and resume serving it.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom metadata acme openai --label team=data --label env=prod")]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["set", "labels", "clear_labels", "disable", "enable"]))]
pub(super) struct Metadata {
    #[command(flatten)]
    target: Target,

    /// Replace the metadata.
    #[arg(long, value_name = "JSON|@FILE")]
    set: Option<String>,

    /// Replace all labels by this one; given several times, by these.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::label, conflicts_with = "clear_labels")]
    labels: Vec<(String, String)>,

    /// Remove all labels.
    #[arg(long)]
    clear_labels: bool,

    /// Stop serving it, at once.
    #[arg(long, conflicts_with = "enable")]
    disable: bool,

    /// Serve it again.
    #[arg(long)]
    enable: bool,

    #[command(flatten)]
    expected: values::Expected,
}

impl Metadata {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = self.request()?;
        let reply = context.server.credentials().await?.update_metadata(request).await?;
        context.out.show(&present(reply.into_inner().credential)?, view::credential_sheet)
    }

    fn request(self) -> Result<UpdateMetadataRequest, Failure> {
        let Target { org, provider, project, name } = self.target;
        let labels = (self.clear_labels || !self.labels.is_empty())
            .then(|| Labels { labels: self.labels.into_iter().collect() });
        Ok(UpdateMetadataRequest {
            org,
            project,
            provider,
            name,
            metadata: self.set.as_deref().map(|text| values::json_object("--set", text)).transpose()?,
            labels,
            disabled: (self.disable || self.enable).then_some(self.disable),
            etag: self.expected.etag(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn request(line: &str) -> UpdateMetadataRequest {
        let words = ["strongroom", "metadata", "acme", "openai"].into_iter().chain(line.split(' '));
        match Cli::try_parse_from(words).unwrap().command {
            Command::Metadata(metadata) => metadata.request().unwrap(),
            _ => unreachable!("that is the metadata command"),
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let labels = request("--label a=b --label c=d");
        assert_eq!(labels.labels.unwrap().labels.len(), 2);
        assert!(labels.metadata.is_none() && labels.disabled.is_none());

        assert_eq!(request("--clear-labels").labels, Some(Labels::default()));
        assert_eq!(request("--disable").disabled, Some(true));
        assert_eq!(request("--enable").disabled, Some(false));
        let set = request("--set {} --etag 4");
        assert!(set.metadata.is_some_and(|metadata| metadata.fields.is_empty()) && set.labels.is_none());
        assert_eq!(set.etag, "4");
    }
}
