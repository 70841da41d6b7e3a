//! Connection tests: what each outcome makes of a version, and that the old one is served until the new one works.

use std::sync::Mutex;

use strongroom::vault::{Activate, CredentialState, Error, Validate, Verdict, VersionState};

use super::*;

/// A provider that answers what it was told to.
#[derive(Default)]
struct Fake {
    answers: Mutex<Vec<Answer>>,
    asked: AtomicU64,
}

#[derive(Clone, Copy)]
enum Answer {
    Says(Verdict, &'static str),
    Hangs,
    Panics,
}

#[async_trait]
impl Probe for Fake {
    async fn probe(&self, _: &Provider, secret: &Secret, _: &Metadata) -> Outcome {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop().unwrap();
        match answer {
            Answer::Says(verdict, reason) => Outcome::new(verdict, reason, ""),
            Answer::Hangs => std::future::pending().await,
            Answer::Panics => panic!("{} is bad", secret.expose_text().unwrap()),
        }
    }
}

struct Scene {
    vault: Arc<Vault>,
    provider: Arc<Fake>,
    _home: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let provider = Arc::new(Fake::default());
        let probe = Arc::clone(&provider) as Arc<dyn Probe>;
        let vault = vault(home.path(), &Keys::new(home.path()), probe, LIMITS);
        Self { vault, provider, _home: home }
    }

    fn next(&self, answer: Answer) {
        self.provider.answers.lock().unwrap().push(answer);
    }

    async fn setup(&self, key: &str, answer: Answer) -> Result<strongroom::vault::SetupDone, Error> {
        self.next(answer);
        self.vault.setup(&admin(), setup(path("acme", "a"), &openai_key(key), false)).await
    }

    async fn served(&self) -> Result<Vec<u8>, Error> {
        let answer = self.vault.decrypt(&admin(), decrypt(path("acme", "a"))).await?;
        Ok(answer.secret.expose().to_vec())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_has_its_state() {
    let outcomes = [
        (Answer::Says(Verdict::Ok, ""), VersionState::Active),
        // A key that is known but not allowed something is a live key.
        (Answer::Says(Verdict::InsufficientPermission, "missing_scope"), VersionState::Active),
        (Answer::Says(Verdict::InvalidCredential, "revoked"), VersionState::Invalid),
        // Unreachable is not refused.
        (Answer::Says(Verdict::ProviderUnreachable, "dns"), VersionState::Pending),
        (Answer::Says(Verdict::RateLimited, "throttled"), VersionState::Pending),
        (Answer::Says(Verdict::Misconfigured, "region"), VersionState::Pending),
        (Answer::Says(Verdict::NotFound, "account"), VersionState::Pending),
        (Answer::Hangs, VersionState::Pending),
    ];
    for (answer, state) in outcomes {
        let scene = Scene::new();
        let done = scene.setup("a", answer).await.unwrap();
        assert_eq!(done.version.state, state, "{:?}", done.probe);
        assert_eq!(scene.served().await.is_ok(), state == VersionState::Active);
        if let Answer::Says(verdict, reason) = answer {
            assert_eq!((done.probe.outcome.as_str(), done.probe.reason.as_str()), (verdict.as_str(), reason));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_version_is_served_until_the_new_one_works() {
    let scene = Scene::new();
    scene.setup("first", Answer::Says(Verdict::Ok, "")).await.unwrap();
    for bad in [Answer::Says(Verdict::InvalidCredential, "rejected"), Answer::Says(Verdict::ProviderUnreachable, "dns")]
    {
        let key = format!("bad-{}", scene.provider.asked.load(Ordering::SeqCst));
        let done = scene.setup(&key, bad).await.unwrap();
        assert_eq!(done.credential.active_version, Some(1));
        assert_eq!(scene.served().await.unwrap(), openai_key("first").as_bytes());
    }
    scene.setup("second", Answer::Says(Verdict::Ok, "")).await.unwrap();
    assert_eq!(scene.served().await.unwrap(), openai_key("second").as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_version_can_be_tested_again() {
    let scene = Scene::new();
    scene.setup("a", Answer::Says(Verdict::ProviderUnreachable, "connect")).await.unwrap();
    let again = || Validate { path: path("acme", "a"), upload: None, metadata: None };
    scene.next(Answer::Says(Verdict::Ok, ""));
    let validated = scene.vault.validate(&admin(), again()).await.unwrap();
    assert_eq!(validated.credential.unwrap().state, CredentialState::Active);
    assert_eq!(scene.served().await.unwrap(), openai_key("a").as_bytes());

    // A served version that is refused goes on being served, and is said to be failing; one good answer ends that.
    for (verdict, failing) in
        [(Verdict::InvalidCredential, true), (Verdict::ProviderUnreachable, true), (Verdict::Ok, false)]
    {
        scene.next(Answer::Says(verdict, ""));
        let credential = scene.vault.validate(&admin(), again()).await.unwrap().credential.unwrap();
        assert_eq!((credential.state, credential.failing_since.is_some()), (CredentialState::Active, failing));
    }
    scene.served().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_can_be_tested_without_being_stored() {
    let scene = Scene::new();
    scene.next(Answer::Says(Verdict::InvalidCredential, "rejected"));
    let upload = setup(path("acme", "a"), &openai_key("a"), false).upload;
    let validated = scene
        .vault
        .validate(&admin(), Validate { path: path("acme", "a"), upload: Some(upload), metadata: None })
        .await
        .unwrap();
    assert_eq!(validated.probe.verdict, Verdict::InvalidCredential);
    assert!(matches!(scene.vault.get(&admin(), &path("acme", "a")).await.unwrap_err(), Error::NotFound { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_leaves_no_version_untested() {
    let scene = Scene::new();
    scene.next(Answer::Hangs);
    let caller = admin();
    let asking = scene.vault.setup(&caller, setup(path("acme", "a"), &openai_key("a"), false));
    // The caller goes away while the provider is silent.
    let is_asked = async {
        while scene.provider.asked.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = asking => panic!("it is answered"),
        () = is_asked => {}
    }
    let mut tries = 0;
    loop {
        let versions = scene.vault.versions(&admin(), &path("acme", "a")).await.unwrap();
        if let Some(probe) = &versions[0].probe {
            assert_eq!((probe.outcome.as_str(), probe.reason.as_str()), ("provider_unreachable", "timeout"));
            break;
        }
        tries += 1;
        assert!(tries < 100, "the test was given up with its caller");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_panics_harms_nobody_else() {
    let scene = Scene::new();
    let fault = scene.setup("a", Answer::Panics).await.unwrap_err();
    assert!(matches!(&fault, Error::Bug { cause } if !cause.contains(&openai_key("a"))), "{fault:?}");
    let activate = Activate { path: path("acme", "a"), version: 1, etag: None };
    scene.vault.activate(&admin(), activate).await.unwrap();
    assert_eq!(scene.served().await.unwrap(), openai_key("a").as_bytes());
}
