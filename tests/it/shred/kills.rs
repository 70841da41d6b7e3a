//! SIGKILL in the middle of an org's end, again and again: it goes on where it was, and says that it is done at its end.

use super::*;
use crate::rewrap;

const ROWS: usize = 1_500;
const KILLS: u64 = 6;

#[test]
fn killed_again_and_again_it_comes_to_its_end() {
    let home = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime().block_on(async {
        rewrap::fill(&daemon, &token, ROWS).await;
        let mut client = daemon.credentials(&token).await;
        client.setup_credential(setup("globex", "a", &openai_key("globex-a"))).await.unwrap();
        let bytes = raw(&daemon, "acme");
        assert_eq!(bytes.len(), 2 * ROWS + 1);
        cli(&daemon, &token, &["org", "destroy", "acme", "--yes", "--after", "0s"]);
        let mut tolls = Vec::new();
        for kill in 0..KILLS {
            let before = tolls.last().copied().unwrap_or_default();
            // From its first steps on, and in the middle of a page, however slow the machine is.
            let mut admin = daemon.admin(&token).await;
            let toll = loop {
                let request = strongroom::pb::v1::ListOrgDestructionsRequest { org: "acme".into() };
                let now = admin.list_org_destructions(request).await.unwrap().into_inner().destructions.remove(0);
                let toll = now.destroyed.unwrap_or_default();
                if toll.credentials > before || (kill == 0 && now.state == "destroying") || now.state == "destroyed" {
                    break toll.credentials;
                }
            };
            tokio::time::sleep(Duration::from_millis(kill)).await;
            daemon.kill();
            tolls.push(toll);
            daemon = Daemon::start(home.path());
            assert!(opens(&daemon, &token, "acme", "n7").await.is_err());
            opens(&daemon, &token, "globex", "a").await.unwrap();
        }
        assert!(tolls.is_sorted() && tolls[1] < ROWS as u64, "no kill came in the middle: {tolls:?}");
        let proof = destroyed(&daemon, &token, "acme");
        let toll = &proof["destroyed"];
        let told = ["credentials", "versions", "org_keys"].map(|what| count(toll, what));
        assert_eq!(told, [ROWS as u64, ROWS as u64, 1], "{proof}");
        assert_eq!(toll["wraps"], serde_json::json!({"local://default": (2 * ROWS + 1 - ROWS).to_string()}));
        assert_eq!(count(&proof["left"], "looked_at"), ROWS as u64);
        assert_eq!(in_files(&daemon, &bytes), 0);
        let ends = cli(&daemon, &token, &["audit", "list", "--org", "acme", "--action", "orgDestroyed"]);
        assert_eq!(ends.as_array().unwrap().len(), 1, "it is said once");
        assert!(daemon.cli(&token, &["audit", "verify"], None).status.success());
        opens(&daemon, &token, "globex", "a").await.unwrap();
        println!("destroyed at each kill: {tolls:?} of {ROWS}");
    });
}
