//! Who a client is: static credentials, and the answers of an auth callout.

pub(crate) mod callout;
pub(crate) mod jwt;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use nkeys::KeyPair;
use subtle::ConstantTimeEq as _;

use crate::{
    config::{Credentials, UserConfig},
    protocol::ConnectOptions,
};

/// True when `options` prove that the client is `user`. `nonce` is what INFO offered for signing.
pub(crate) fn proves(user: &UserConfig, options: &ConnectOptions, nonce: &str) -> bool {
    match &user.credentials {
        Credentials::Password { user, password } => {
            // Both are compared in full, so that the time tells nothing.
            let name = user.as_bytes().ct_eq(options.user.as_bytes());
            let secret = password.0.as_bytes().ct_eq(options.pass.as_bytes());
            (name & secret).into()
        }
        Credentials::Nkey(key) => *key == options.nkey && signed(key, &options.sig, nonce),
    }
}

/// True when `signature` is the nonce signed by the owner of `key`.
fn signed(key: &str, signature: &str, nonce: &str) -> bool {
    let Ok(key) = KeyPair::from_public_key(key) else { return false };
    let text = signature.as_bytes();
    [&BASE64URL_NOPAD, &BASE64URL, &BASE64, &BASE64_NOPAD]
        .iter()
        .find_map(|encoding| encoding.decode(text).ok())
        .is_some_and(|bytes| key.verify(nonce.as_bytes(), &bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPairType;

    use super::*;

    #[test]
    fn passwords_and_signatures() {
        let user = UserConfig::password("svc", "secret");
        let mut options = ConnectOptions { user: "svc".into(), pass: "secret".into(), ..Default::default() };
        assert!(proves(&user, &options, "n"));
        options.pass = "secre".into();
        assert!(!proves(&user, &options, "n"));

        let pair = KeyPair::new_from_raw(KeyPairType::User, [7; 32]).expect("32 bytes are a seed");
        let user = UserConfig { credentials: Credentials::Nkey(pair.public_key()), permissions: None };
        options.nkey = pair.public_key();
        options.sig = BASE64URL_NOPAD.encode(&pair.sign(b"nonce").expect("has its seed"));
        assert!(proves(&user, &options, "nonce"));
        assert!(!proves(&user, &options, "other"));
    }
}
