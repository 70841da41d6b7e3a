//! What `deploy/` offers to copy fits the daemon that it starts: configuration, ports, probes, paths, times.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use strongroom::authn::Callers;
use strongroom::config::Config;
use strongroom::providers::Registry;
use strongroom::store::postgres::Url;
use strongroom::vault::Policies;
use strongroom::vault::policy::Vocabulary;

use crate::daemon::Daemon;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn cluster(file: &str) -> PathBuf {
    root().join("deploy/kubernetes").join(file)
}

/// The documents of all manifests, by kind and name.
fn manifests() -> BTreeMap<(String, String), Value> {
    let mut all = BTreeMap::new();
    for name in strings(&kustomization()["resources"]) {
        for text in read(&format!("deploy/kubernetes/{name}")).split("\n---\n") {
            let document: Value = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(
                document["apiVersion"].is_string() && document["metadata"]["name"].is_string(),
                "{name}: {document}"
            );
            let key = (text_of(&document["kind"]), text_of(&document["metadata"]["name"]));
            assert!(all.insert(key.clone(), document).is_none(), "{key:?} is there twice");
        }
    }
    all
}

fn kustomization() -> Value {
    serde_saphyr::from_str(&read("deploy/kubernetes/kustomization.yaml")).unwrap()
}

fn manifest(kind: &str) -> Value {
    let of_kind = |((its, _), document): (_, _)| (its == kind).then_some(document);
    manifests().into_iter().find_map(of_kind).unwrap_or_else(|| panic!("there is no {kind}"))
}

fn pod() -> Value {
    manifest("Deployment")["spec"]["template"]["spec"].clone()
}

fn container() -> Value {
    let all = pod()["containers"].as_array().unwrap().clone();
    assert_eq!(all.len(), 1);
    all[0].clone()
}

fn config() -> Config {
    Config::load(Some(&cluster("config/strongroom.toml"))).unwrap()
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap_or_else(|| panic!("{list} is no list")).iter().map(text_of).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_manifest_and_file_is_used() {
    let there = |folder: &str, extension: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(cluster(folder)).unwrap().map(|entry| entry.unwrap().path());
        let named = entries.filter(|path| extension.is_empty() || path.extension().is_some_and(|it| it == extension));
        named.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let kustomization = kustomization();
    let mut used: BTreeSet<_> = strings(&kustomization["resources"]).into_iter().collect();
    assert_eq!(used.len(), there("", "yaml").len() - 1);
    used.insert("kustomization.yaml".into());
    assert_eq!(used, there("", "yaml"));

    let generators = kustomization["configMapGenerator"].as_array().unwrap();
    let generated: BTreeSet<_> = generators.iter().flat_map(|generator| strings(&generator["files"])).collect();
    assert_eq!(generated, there("config", "").iter().map(|file| format!("config/{file}")).collect());
    let names: BTreeSet<_> = generators.iter().map(|generator| text_of(&generator["name"])).collect();
    let volumes = pod()["volumes"].as_array().unwrap().clone();
    let mounted: BTreeSet<_> =
        volumes.iter().filter_map(|volume| Some(volume["configMap"]["name"].as_str()?.to_owned())).collect();
    assert_eq!(mounted, names);
}

/// Each key is one that the daemon knows, the files that it names are mounted, and what is in them is right.
#[test]
fn the_configuration_is_one_that_the_daemon_takes() {
    let config = config();
    Url::parse(&config.store.url).unwrap();
    let callers = Callers::parse("callers.toml", &read("deploy/kubernetes/config/callers.toml")).unwrap();
    assert!(!callers.is_empty(), "without a caller each replica would offer a bootstrap token");
    let registry = Registry::embedded().unwrap();
    Policies::load(&cluster("config"), &Vocabulary::of(&registry)).unwrap();
    assert_eq!(read("deploy/kubernetes/config/default.cedar"), read("config/policy/default.cedar"));

    let text = read("deploy/kubernetes/config/strongroom.toml");
    let named: Vec<&str> = text.split(['"', '=', '&', '?']).filter(|word| word.starts_with('/')).collect();
    assert!(named.len() >= 6, "{named:?}");
    let container = container();
    let mounts: Vec<String> =
        container["volumeMounts"].as_array().unwrap().iter().map(|mount| text_of(&mount["mountPath"])).collect();
    let args = strings(&container["args"]);
    for path in named.into_iter().chain(args.iter().map(String::as_str).filter(|word| word.starts_with('/'))) {
        assert!(mounts.iter().any(|mount| Path::new(path).starts_with(mount)), "{path} is mounted nowhere");
    }
    let volumes: BTreeSet<String> =
        pod()["volumes"].as_array().unwrap().iter().map(|volume| text_of(&volume["name"])).collect();
    let mounted = container["volumeMounts"].as_array().unwrap().iter().map(|mount| text_of(&mount["name"]));
    assert_eq!(mounted.collect::<BTreeSet<_>>(), volumes);
}

#[test]
fn ports_are_those_that_the_daemon_listens_on() {
    let listen = config().listen;
    let of_config =
        [("grpc", listen.grpc), ("rest", listen.rest), ("ops", listen.ops)].map(|(name, it)| (name.into(), it.port()));
    let ports = container()["ports"].as_array().unwrap().clone();
    let ports: BTreeMap<String, u16> =
        ports.iter().map(|port| (text_of(&port["name"]), number(&port["containerPort"]) as u16)).collect();
    assert_eq!(ports, BTreeMap::from(of_config));
    for port in manifest("Service")["spec"]["ports"].as_array().unwrap() {
        assert!(["grpc", "rest"].contains(&text_of(&port["targetPort"]).as_str()), "{port}");
    }
    let rules = manifest("NetworkPolicy")["spec"]["ingress"].as_array().unwrap().clone();
    let let_in: BTreeSet<u16> = rules
        .iter()
        .flat_map(|rule| rule["ports"].as_array().unwrap().iter().map(|port| number(&port["port"]) as u16))
        .collect();
    assert_eq!(let_in, ports.values().copied().collect());

    let defaults = Config::default().listen;
    let expected = format!("EXPOSE {} {} {}", defaults.grpc.port(), defaults.ops.port(), defaults.rest.port());
    assert!(read("deploy/Containerfile").lines().any(|line| line == expected), "{expected}");
}

#[test]
fn probes_ask_what_answers() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let container = container();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["port"], "ops", "{probe}");
        assert_eq!(daemon.scrape(&text_of(&get["path"])).0, 200, "{probe}");
    }
    // What a restart does not mend must not look dead.
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
}

#[test]
fn selectors_select_the_pods() {
    let all = manifests();
    let deployment = manifest("Deployment");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&manifest("Service")["spec"]["selector"], labels);
    assert_eq!(&manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], labels);
    let account = text_of(&pod()["serviceAccountName"]);
    assert!(all.contains_key(&("ServiceAccount".into(), account)));
    let admin = ("ServiceAccount".into(), "strongroom-admin".into());
    assert!(all.contains_key(&admin) && read("deploy/kubernetes/config/callers.toml").contains("\"strongroom-admin\""));
}

#[test]
fn a_pod_has_no_more_rights_than_it_needs() {
    let (pod, container) = (pod(), container());
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
    let own = &container["securityContext"];
    assert_eq!(own["readOnlyRootFilesystem"], true);
    assert_eq!(own["allowPrivilegeEscalation"], false);
    assert_eq!(own["capabilities"]["drop"], serde_json::json!(["ALL"]));
    let user = number(&pod["securityContext"]["runAsUser"]);
    assert!(read("deploy/Containerfile").contains(&format!("USER {user}:{user}")));
}

/// Who is stopped has the time that it takes to drain.
#[test]
fn there_is_time_to_drain() {
    const LAST_COPIES: Duration = Duration::from_secs(3);
    let drain = config().shutdown.grace + LAST_COPIES;
    let before = number(&container()["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let given = number(&pod()["terminationGracePeriodSeconds"]);
    assert!(Duration::from_secs(given) > drain + Duration::from_secs(before));
    let unit = read("deploy/strongroom.service");
    let given = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(Duration::from_secs(given.parse().unwrap()) > drain);
}

#[test]
fn the_unit_does_not_restart_what_somebody_must_mend() {
    let unit = read("deploy/strongroom.service");
    let codes = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).unwrap();
    let readme = read("README.md").replace('\n', " ");
    for code in codes.split(' ') {
        assert!(readme.contains(&format!("**{code}** serve:")), "{code}");
    }
    // The database may come back, and an address may become free.
    assert!(!codes.contains("67") && !codes.contains("68"));
}

#[test]
fn the_container_file_copies_what_is_there() {
    for line in
        read("deploy/Containerfile").lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from"))
    {
        let words: Vec<_> = line.split(' ').skip(1).collect();
        for source in &words[..words.len() - 1] {
            assert!(root().join(source).exists(), "{line}");
        }
    }
}
