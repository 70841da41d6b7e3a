//! All that is kept, out of a store that goes on.

use std::collections::BTreeMap;

use strongroom::store::backup::TABLES;

use super::*;

async fn counts(store: &impl Store, meanwhile: impl AsyncFnOnce()) -> Vec<(&'static str, usize)> {
    let mut rows = store.export().await.unwrap();
    meanwhile().await;
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut order = Vec::new();
    while let Some(piece) = rows.recv().await.expect("an end").unwrap() {
        if order.last() != Some(&piece.table.name) {
            order.push(piece.table.name);
        }
        assert!(piece.rows.iter().all(|row| row.len() == piece.table.columns.len()));
        *counts.entry(piece.table.name).or_default() += piece.rows.len();
    }
    assert!(rows.recv().await.is_none(), "something comes after the end");
    assert_eq!(order, TABLES.iter().map(|table| table.name).collect::<Vec<_>>(), "each table is told of, in order");
    order.into_iter().map(|table| (table, counts[table])).collect()
}

/// What is written while an export is read is not in it, and waits for nobody.
pub async fn an_export_is_of_one_moment(place: &impl Place) {
    let store = place.open().await;
    let one = served(&store, acme()).await;
    let before = counts(&store, async || ()).await;
    let many = async || {
        for _ in 0..300 {
            created(&store, Path { name: Uuid::now_v7().to_string(), ..acme() }).await;
        }
        let target = Target { credential: one.id, revision: one.revision };
        commit(&store, Change::Delete { target, destroy_at: None }).await.unwrap();
    };
    assert_eq!(counts(&store, many).await, before);
    let after = counts(&store, async || ()).await;
    let of = |counts: &[(&str, usize)], name| counts.iter().find(|(table, _)| *table == name).unwrap().1;
    assert_eq!(of(&after, "credentials"), of(&before, "credentials") + 300);
    // Whoever stops reading is no burden.
    drop(store.export().await.unwrap());
    store.ready().await.unwrap();
}
