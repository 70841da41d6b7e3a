//! A request as Cedar sees it: two entities and what is above them.

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use jiff::Timestamp;

use crate::store::{Credential, Path, Word as _};
use crate::vault::{Action, Caller};

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// A tenant; `*` for what belongs to none.
    Org(&'a str),
    /// A credential that is there.
    Credential(&'a Credential),
    /// A name that no credential bears.
    Absent(&'a Path),
}

/// A request, ready to be decided.
pub struct Scene {
    pub principal: EntityUid,
    pub roles: Vec<EntityUid>,
    pub action: EntityUid,
    pub resource: EntityUid,
    pub ancestors: Vec<EntityUid>,
    pub entities: Entities,
}

type Broken = Box<dyn std::error::Error>;

pub fn scene(caller: &Caller, action: Action, resource: Resource<'_>, now: Timestamp) -> Result<Scene, Broken> {
    let who = &caller.principal;
    let principal = uid("Caller", &who.id)?;
    let role = uid("Role", &who.role)?;
    let attributes = [
        ("name".to_owned(), text(&who.name)),
        ("role".to_owned(), text(&who.role)),
        ("org".to_owned(), text(&who.org)),
        ("projects".to_owned(), texts(&who.projects)),
        ("providers".to_owned(), texts(&who.providers)),
    ];
    let asker = Entity::new(principal.clone(), attributes.into(), [role.clone()].into())?;
    let (thing, ancestors) = match resource {
        Resource::Org(org) => (organisation(org)?, Vec::new()),
        // No name is an id: with its `/` this is neither. A policy about one credential is about no name that looks like it.
        Resource::Absent(path) => credential(path, &format!("absent/{}", path.name), "absent", "ok", [])?,
        Resource::Credential(it) => {
            let labels = it.labels.iter().map(|(key, value)| (key.clone(), text(value)));
            credential(&it.path, &it.id.to_string(), it.state.word(), it.health(now).word(), labels)?
        }
    };
    let resource = thing.uid();
    let entities = Entities::from_entities([asker, thing], None)?;
    let action = uid("Action", action.as_str())?;
    Ok(Scene { principal, roles: vec![role], action, resource, ancestors, entities })
}

fn organisation(org: &str) -> Result<Entity, Broken> {
    Ok(Entity::new(uid("Org", org)?, [("org".to_owned(), text(org))].into(), Default::default())?)
}

fn credential(
    path: &Path,
    id: &str,
    state: &str,
    health: &str,
    labels: impl IntoIterator<Item = (String, RestrictedExpression)>,
) -> Result<(Entity, Vec<EntityUid>), Broken> {
    let ancestors = vec![
        uid("Org", &path.org)?,
        // A project belongs to its org: two orgs may each have one of the same name.
        uid("Project", &format!("{}/{}", path.org, path.project))?,
        uid("Provider", &path.provider)?,
    ];
    let attributes = [
        ("org".to_owned(), text(&path.org)),
        ("project".to_owned(), text(&path.project)),
        ("provider".to_owned(), text(&path.provider)),
        ("name".to_owned(), text(&path.name)),
        ("state".to_owned(), text(state)),
        ("health".to_owned(), text(health)),
    ];
    let entity = Entity::new_with_tags(uid("Credential", id)?, attributes, ancestors.clone(), labels)?;
    Ok((entity, ancestors))
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, Broken> {
    let kind: EntityTypeName = format!("Strongroom::{kind}").parse()?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn texts(values: &[String]) -> RestrictedExpression {
    RestrictedExpression::new_set(values.iter().map(|value| text(value)))
}
