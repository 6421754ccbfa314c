//! Reads the JSON of requests the way Go does, which is what clients are written against.

use serde::de::DeserializeOwned;
use serde_json::{Error, Value};

/// A request as `T`. See [`read_value`].
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Error> {
    serde_json::from_value(read_value(payload)?)
}

/// The JSON of a request. Nothing and null count as an empty object, and members that are null as absent.
pub(super) fn read_value(payload: &[u8]) -> Result<Value, Error> {
    let empty = || Value::Object(serde_json::Map::new());
    if payload.trim_ascii().is_empty() {
        return Ok(empty());
    }
    let mut value: Value = serde_json::from_slice(payload)?;
    drop_nulls(&mut value);
    Ok(if value.is_null() { empty() } else { value })
}

fn drop_nulls(value: &mut Value) {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(drop_nulls);
    }
}
