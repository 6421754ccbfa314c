//! Secrets that are generated at the first start and kept in the data folder, readable by its owner only.

use std::path::Path;

use nkeys::{KeyPair, XKey};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::data::{DataFolder, write_private};

/// Not printable.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secrets {
    pub(crate) api_key: String,
    pub(crate) api_secret: String,
    pub(crate) media_key: String,
    pub(crate) media_secret: String,
    pub(crate) broker_password: String,
    pub(crate) broker_system_password: String,
    pub(crate) issuer_seed: String,
    pub(crate) xkey_seed: String,
}

impl Secrets {
    /// Those of a data folder, which is made and locked when there are none yet.
    pub(crate) fn of_folder(folder: &Path) -> anyhow::Result<Self> {
        const FILE: &str = "secrets.yaml";
        if folder.join(FILE).exists() {
            return Self::load_or_generate(&folder.join(FILE));
        }
        Self::load_or_generate(&DataFolder::open(folder)?.join(FILE))
    }

    /// Reads the file, or makes it.
    pub(crate) fn load_or_generate(file: &Path) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let shown = file.display();
        match std::fs::read_to_string(file) {
            Ok(text) => serde_yaml_ng::from_str(&text).with_context(|| format!("{shown} cannot be read")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secrets = Self::generate()?;
                write_private(file, serde_yaml_ng::to_string(&secrets)?.as_bytes())
                    .with_context(|| format!("{shown} cannot be written"))?;
                Ok(secrets)
            }
            Err(error) => Err(error).with_context(|| format!("{shown} cannot be read")),
        }
    }

    fn generate() -> anyhow::Result<Self> {
        Ok(Self {
            api_key: format!("plenum{}", random(10)),
            api_secret: random(43),
            media_key: format!("API{}", random(12)),
            media_secret: random(43),
            broker_password: random(43),
            broker_system_password: random(43),
            issuer_seed: KeyPair::new_account().seed()?,
            xkey_seed: XKey::new().seed()?,
        })
    }
}

/// Random letters and digits; 43 carry 256 bits.
fn random(len: usize) -> String {
    let mut rng = rand::rng();
    (0..len).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}
