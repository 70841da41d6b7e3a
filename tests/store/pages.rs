//! Lists, page by page, against what a sorted vector would say.

use strongroom::store::{AuditPage, CredentialState, Cursor, Filter, Health, Settlement, VersionState};

use super::*;

/// Names that sort differently by bytes than by people's habits.
const NAMES: [&str; 7] = ["a", "B", "b", "default", "z-1", "ß", "日本"];

pub async fn lists_match_a_model(place: &impl Place) {
    let store = place.open().await;
    let seed = seed();
    let mut random = Random(seed);
    let mut all = Vec::new();
    for org in ["acme", "other"] {
        for project in ["", "default", "p"] {
            for provider in ["aws_keys", "openai"] {
                for name in NAMES {
                    if random.chance(20) {
                        continue;
                    }
                    let id = Uuid::now_v7();
                    let number = if random.chance(50) { active(id, 1) } else { version(id, 1) };
                    all.push(done(&store, creation(id, path(org, project, provider, name), number)).await);
                }
            }
        }
    }
    let filters = [
        Filter::default(),
        Filter { project: Some("default".into()), ..Filter::default() },
        Filter { provider: Some("openai".into()), ..Filter::default() },
        Filter { project: Some("p".into()), provider: Some("aws_keys".into()), ..Filter::default() },
        Filter { state: Some(CredentialState::Active), ..Filter::default() },
        Filter {
            state: Some(CredentialState::Pending),
            provider: Some("openai".into()),
            project: Some(String::new()),
            ..Filter::default()
        },
        Filter { state: Some(CredentialState::Active), project: Some("default".into()), ..Filter::default() },
        Filter { state: Some(CredentialState::Active), provider: Some("openai".into()), ..Filter::default() },
        Filter { state: Some(CredentialState::Deleted), ..Filter::default() },
        Filter { provider: Some("none".into()), ..Filter::default() },
    ];
    for filter in filters {
        let filter = Filter { org: "acme".into(), ..filter };
        let expected = expected(&all, &filter);
        for limit in [1, 3, 50] {
            assert_eq!(paged(&store, &filter, limit).await, expected, "{filter:?} by {limit}");
        }
        // A cursor of another filter is a place in the order all the same.
        for _ in 0..20 {
            let cursor = cursor(random.one(&all));
            let rest: Vec<_> = expected.iter().filter(|row| order(row) > place_of(&cursor)).cloned().collect();
            assert_eq!(store.list(&filter, Some(&cursor), 1_000).await.unwrap(), rest, "{filter:?} after {cursor:?}");
        }
    }
}

pub async fn tombstones_are_listed_when_asked_for(place: &impl Place) {
    let store = place.open().await;
    let mut gone = Vec::new();
    for step in 0..6 {
        let credential = served(&store, acme()).await;
        let destroy_at = (step % 2 == 0).then(tick);
        gone.push(done(&store, Change::Delete { target: at(&credential), destroy_at }).await);
    }
    let live = served(&store, acme()).await;
    let filter = Filter { org: "acme".into(), ..Filter::default() };
    assert_eq!(paged(&store, &filter, 2).await, [live]);
    let filter = Filter { state: Some(CredentialState::Deleted), ..filter };
    // One name, several tombstones: in the order of their ids.
    assert_eq!(paged(&store, &filter, 2).await, gone);
}

pub async fn health_and_labels(place: &impl Place) {
    let store = place.open().await;
    let now = tick();
    let hours = |hours: i64| now.checked_add(jiff::SignedDuration::from_hours(hours)).unwrap();
    let expiries = [None, Some(hours(-1)), Some(now), Some(hours(1)), Some(hours(14 * 24)), Some(hours(14 * 24 + 1))];
    let mut all = Vec::new();
    for (number, expiry) in expiries.into_iter().enumerate() {
        for (failing, disabled) in [(false, false), (false, true), (true, false), (true, true)] {
            let id = Uuid::now_v7();
            let name = path("acme", "default", "openai", &format!("{number}-{failing}-{disabled}"));
            let mut change = creation(id, name, active(id, 1));
            if let Change::Create { labels, expires_at, .. } = &mut change {
                *expires_at = expiry;
                *labels = BTreeMap::from([
                    ("number".into(), number.to_string()),
                    (format!("failing {failing}"), "o'clock".into()),
                    ("x\"y$.z".into(), String::new()),
                ]);
            }
            let mut credential = done(&store, change).await;
            if failing {
                let (from, settlement) = (VersionState::Active, Settlement::Refuse);
                let refusal = Change::Settle {
                    credential: id,
                    version: 1,
                    from,
                    settlement,
                    probe: probe("invalid_credential"),
                    probe_at: None,
                    failures: 1,
                };
                credential = done(&store, refusal).await;
            }
            let target = at(&credential);
            let change = Change::Update { target, metadata: None, labels: None, disabled: Some(disabled) };
            all.push(done(&store, change).await);
        }
    }
    for health in [Health::Disabled, Health::Expired, Health::Failing, Health::Expiring, Health::Ok] {
        let filter = Filter { org: "acme".into(), health: Some((health, now)), ..Filter::default() };
        let expected = expected(&all, &filter);
        assert!(!expected.is_empty());
        assert_eq!(paged(&store, &filter, 3).await, expected, "{health:?}");
    }
    let label = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    for labels in [
        vec![label("number", None)],
        vec![label("number", Some("3"))],
        vec![label("number", Some("3")), label("failing true", None)],
        vec![label("failing true", Some("o'clock")), label("x\"y$.z", Some(""))],
        vec![label("failing true", Some("")), label("number", None)],
        vec![label("none", None)],
    ] {
        let filter = Filter { org: "acme".into(), labels, ..Filter::default() };
        assert_eq!(paged(&store, &filter, 3).await, expected(&all, &filter), "{:?}", filter.labels);
    }
}

pub async fn audit_pages(place: &impl Place) {
    let store = place.open().await;
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    for number in 0..60 {
        let record = Draft {
            org: ["acme", "other", ""][number % 3].into(),
            credential_id: (number % 3 != 2).then(|| ids[number % 2]),
            outcome: ["ok", "DENIED"][usize::from(number % 5 == 0)].into(),
            caller: format!("caller-{}", number % 4),
            ..draft(["decrypt", "setup"][usize::from(number % 7 == 0)])
        };
        store.commit(Change::Record, record.into()).await.unwrap();
    }
    let everything = store.audit(&AuditFilter::default(), None, false, 1_000).await.unwrap().records;
    assert_eq!(everything.len(), 60);
    let instance = everything[0].1.instance.clone();
    let filters = [
        AuditFilter::default(),
        AuditFilter { instance: Some(instance), ..AuditFilter::default() },
        AuditFilter { instance: Some("another".into()), ..AuditFilter::default() },
        AuditFilter { org: Some("acme".into()), ..AuditFilter::default() },
        AuditFilter { org: Some(String::new()), ..AuditFilter::default() },
        AuditFilter { credential_id: Some(ids[1]), ..AuditFilter::default() },
        AuditFilter { credential_id: Some(ids[0]), org: Some("other".into()), ..AuditFilter::default() },
        AuditFilter { action: Some("setup".into()), ..AuditFilter::default() },
        AuditFilter { outcome: Some("DENIED".into()), caller: Some("caller-1".into()), ..AuditFilter::default() },
    ];
    for filter in filters {
        let mut expected: Vec<_> = everything
            .iter()
            .filter(|(_, record)| matches(&filter, &record.instance, &record.draft))
            .cloned()
            .collect();
        for descending in [false, true] {
            if descending {
                expected.reverse();
            }
            let (mut found, mut from) = (Vec::new(), None);
            loop {
                let page = store.audit(&filter, from, descending, 4).await.unwrap();
                found.extend(page.records);
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter:?} {descending}");
        }
    }
    assert_eq!(store.audit(&AuditFilter::default(), Some(u64::MAX), false, 10).await.unwrap(), AuditPage::default());
}

pub async fn due_in_order(place: &impl Place) {
    let store = place.open().await;
    let times = [tick(), tick(), tick()];
    let mut gone = Vec::new();
    for (number, time) in [2, 0, 1].into_iter().enumerate() {
        let credential = created(&store, path("acme", "p", "openai", &number.to_string())).await;
        gone.push(done(&store, Change::Delete { target: at(&credential), destroy_at: Some(times[time]) }).await);
    }
    gone.rotate_left(1);
    assert_eq!(store.due(times[2], 10).await.unwrap(), gone);
    assert_eq!(store.due(times[2], 2).await.unwrap(), gone[..2]);
    assert_eq!(store.due(times[0], 10).await.unwrap(), gone[..1]);
}

async fn paged(store: &impl Store, filter: &Filter, limit: u32) -> Vec<Credential> {
    let mut found: Vec<Credential> = Vec::new();
    loop {
        let after = found.last().map(cursor);
        let page = store.list(filter, after.as_ref(), limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

fn expected(all: &[Credential], filter: &Filter) -> Vec<Credential> {
    let matches = |row: &&Credential| {
        row.path.org == filter.org
            && filter.project.as_ref().is_none_or(|project| *project == row.path.project)
            && filter.provider.as_ref().is_none_or(|provider| *provider == row.path.provider)
            && filter.state.map_or(row.state != CredentialState::Deleted, |state| state == row.state)
            && filter.health.is_none_or(|(health, now)| row.health(now) == health)
            && filter.labels.iter().all(|(key, value)| {
                row.labels.get(key).is_some_and(|label| value.as_ref().is_none_or(|value| value == label))
            })
    };
    let mut found: Vec<_> = all.iter().filter(matches).cloned().collect();
    found.sort_by(|a, b| order(a).cmp(&order(b)));
    found
}

fn order(row: &Credential) -> (&str, &str, &str, Uuid) {
    (&row.path.project, &row.path.provider, &row.path.name, row.id)
}

fn place_of(cursor: &Cursor) -> (&str, &str, &str, Uuid) {
    (&cursor.project, &cursor.provider, &cursor.name, cursor.id)
}

fn cursor(row: &Credential) -> Cursor {
    Cursor {
        project: row.path.project.clone(),
        provider: row.path.provider.clone(),
        name: row.path.name.clone(),
        id: row.id,
    }
}

fn matches(filter: &AuditFilter, instance: &str, draft: &Draft) -> bool {
    filter.instance.as_deref().is_none_or(|wanted| wanted == instance)
        && filter.org.as_ref().is_none_or(|org| *org == draft.org)
        && filter.credential_id.is_none_or(|id| Some(id) == draft.credential_id)
        && filter.action.as_ref().is_none_or(|action| *action == draft.action)
        && filter.outcome.as_ref().is_none_or(|outcome| *outcome == draft.outcome)
        && filter.caller.as_ref().is_none_or(|caller| *caller == draft.caller)
}
