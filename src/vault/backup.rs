//! All that is kept, as a file that comes back as a vault: `crypto::backup` draws it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::BoxStream;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::crypto::backup::{FORMAT, Header, Writer};
use crate::crypto::ledger::note::Signer;
use crate::store::backup::{Cell, Piece, Rows, SCHEMA};
use crate::vault::moving::End;
use crate::vault::names::EVERYTHING;
use crate::vault::opener::Opener;
use crate::vault::policy::Resource;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Turn, Vault};

/// So many chunks wait for whoever reads slowly.
const AHEAD: usize = 4;
const CHUNK: usize = 128 << 10;
/// Whoever takes nothing for so long has gone: the write-ahead log grows meanwhile, and what was destroyed is still in it.
const STALLED: Duration = Duration::from_secs(60);

type Chunk = Result<Vec<u8>, Error>;

impl Vault {
    /// Its own record is in it. Over a broken audit log there is none: it would not come back.
    pub async fn export_vault(self: &Arc<Self>, caller: &Caller) -> Result<BoxStream<'static, Chunk>, Error> {
        let mut trail = Trail::begin(caller, Action::ExportVault).about_org(EVERYTHING);
        let at = trail.at();
        let result = async {
            let permit = self.guard.permit(caller, Resource::Org(EVERYTHING), &mut trail)?;
            self.guard.admit(permit, &trail).await?;
            self.checkpoint().await?;
            let key = self
                .store
                .audit_keys(self.store.instance())
                .await?
                .pop()
                .ok_or_else(|| Error::bug("there is no audit key"))?;
            // Of its own, so that rotations meanwhile change nothing: this key is among those of the moment.
            let signer = self.keeper.open_audit_key(self.store.instance(), key).await?;
            Ok((signer, self.store.export().await?))
        };
        let result = result.await;
        let (signer, rows) = self.guard.finish(trail, result).await?;
        let instance = self.store.instance().to_owned();
        let header = Header { format: FORMAT, schema: SCHEMA, instance, at: at.to_string() };
        let (chunks, ready) = mpsc::channel(AHEAD);
        let export = Export { chunks, bytes: Vec::new(), _turn: caller.turn.clone() };
        tokio::spawn(export.run(header, rows, signer).boxed());
        Ok(Opener::new(self, caller.clone()).pass(ready))
    }
}

struct Export {
    chunks: mpsc::Sender<Chunk>,
    bytes: Vec<u8>,
    /// Whoever hangs up has their place back when the work for them has ended.
    _turn: Turn,
}

impl Export {
    async fn run(mut self, header: Header, rows: Rows, signer: Signer) {
        if let Err(End::Failed(error)) = self.write(header, rows, signer).await {
            _ = self.chunks.send(Err(error)).await;
        }
    }

    async fn write(&mut self, header: Header, mut rows: Rows, signer: Signer) -> Result<(), End> {
        let (mut writer, line) = Writer::begin(header).map_err(Error::bug)?;
        self.put(&line).await?;
        let mut table = "";
        loop {
            // What ends without saying so is not whole, and is not signed.
            let piece = rows.recv().await.ok_or_else(|| Error::bug("an export of the store ended early"))?;
            let Some(Piece { table: of, rows }) = piece? else { break };
            if of.name != table {
                table = of.name;
                let line = writer.table(table, &of.columns()).map_err(Error::bug)?;
                self.put(&line).await?;
            }
            for row in rows {
                let row: Vec<Value> = row.into_iter().map(Cell::write).collect();
                let line = writer.row(&row).map_err(Error::bug)?;
                self.put(&line).await?;
            }
        }
        let line = writer.end(&signer).map_err(Error::bug)?;
        self.put(&line).await?;
        self.send().await
    }

    async fn put(&mut self, line: &str) -> Result<(), End> {
        for part in line.as_bytes().chunks(CHUNK) {
            self.bytes.extend_from_slice(part);
            if self.bytes.len() >= CHUNK {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), End> {
        let bytes = std::mem::take(&mut self.bytes);
        match tokio::time::timeout(STALLED, self.chunks.send(Ok(bytes))).await {
            Ok(sent) => sent.map_err(|_| End::Unheard),
            Err(_) => Err(End::Unheard),
        }
    }
}
