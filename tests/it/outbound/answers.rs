//! What may come back.

use super::*;

#[tokio::test]
async fn a_request_arrives_as_it_was_meant_and_its_answer_comes_back() {
    let world = World::start(|_| Answer::text(200, "good").header("x-seen", "yes"));
    let response = ask(&world.client()).await.expect("an answer");
    assert_eq!((response.status.as_u16(), response.body.as_slice()), (200, b"good".as_slice()));
    assert_eq!(response.headers["x-seen"], "yes");
    let asked = world.asked_once();
    assert_eq!((asked.method.as_str(), asked.host.as_str(), asked.path.as_str()), ("GET", HOST, "/v1?a=b"));
}
