//! `Authorization: X-Matrix`: who makes a request, proven by a signature of all of it.
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#request-authentication)
//!
//! Printed as the specification wants it, and read as servers have written it since: parameters in any order and case,
//! quoted or not, also where they hold colons; unknown ones are ignored, repeated ones are not.

use http::HeaderValue;
use plexus_events::{
    SigningKey,
    canonical::{self, CanonicalError},
    verify,
};
use ruma::{OwnedServerName, ServerName};

use crate::name::parse_server_name;

/// Most bytes of a header: two names, a key ID and a signature, all quoted.
const MAX_HEADER: usize = 2048;
/// Most bytes of a key ID.
pub const MAX_KEY_ID: usize = 255;

/// The parameters of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// The server that makes the request.
    pub origin: OwnedServerName,
    /// The server that it is made of; old servers do not say.
    pub destination: Option<OwnedServerName>,
    /// The key it is signed with.
    pub key_id: String,
    /// The signature, in base64.
    pub signature: String,
}

/// A header that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It has another scheme.
    #[error("the scheme is not X-Matrix")]
    Scheme,
    /// It is malformed.
    #[error("the header is malformed")]
    Malformed,
    /// A parameter is there twice.
    #[error("a parameter is there twice")]
    Repeated,
    /// A parameter is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A parameter holds something else.
    #[error("`{0}` is not what it should be")]
    Value(&'static str),
}

/// What is signed of a request.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Method.
    pub method: &'a str,
    /// Path and query, exactly as on the wire.
    pub uri: &'a str,
    /// The server that makes it.
    pub origin: &'a ServerName,
    /// The server that it is made of.
    pub destination: &'a ServerName,
    /// The body, if there is one: a JSON object.
    pub content: Option<&'a [u8]>,
}

impl Signed<'_> {
    /// The bytes that are signed.
    ///
    /// # Errors
    ///
    /// Fails if the body is no JSON object.
    pub fn bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        let mut out = Vec::with_capacity(self.content.map_or(0, <[u8]>::len) + 512);
        out.push(b'{');
        if let Some(content) = self.content {
            out.extend_from_slice(b"\"content\":");
            out.extend_from_slice(&canonical::lenient(content)?);
            out.push(b',');
        }
        for (index, (key, value)) in [
            ("destination", self.destination.as_str()),
            ("method", self.method),
            ("origin", self.origin.as_str()),
            ("uri", self.uri),
        ]
        .into_iter()
        .enumerate()
        {
            if index > 0 {
                out.push(b',');
            }
            canonical::write_string(key, &mut out);
            out.push(b':');
            canonical::write_string(value, &mut out);
        }
        out.push(b'}');
        Ok(out)
    }

    /// Signs the request and returns the header.
    ///
    /// # Errors
    ///
    /// Fails if the body is no JSON object.
    pub fn sign(&self, key: &SigningKey) -> Result<HeaderValue, CanonicalError> {
        let header = Authorization {
            origin: self.origin.to_owned(),
            destination: Some(self.destination.to_owned()),
            key_id: key.key_id().to_owned(),
            signature: key.sign(&self.bytes()?),
        };
        Ok(header.print())
    }

    /// True if the signature is one of this request by the key.
    #[must_use]
    pub fn is_signed(&self, signature: &str, key: &[u8; 32]) -> bool {
        self.bytes().is_ok_and(|bytes| verify::is_signed(&bytes, signature, key))
    }
}

impl Authorization {
    /// Reads the value of a header.
    pub fn parse(header: &[u8]) -> Result<Self, HeaderError> {
        let header = std::str::from_utf8(header).map_err(|_| HeaderError::Malformed)?;
        if header.len() > MAX_HEADER {
            return Err(HeaderError::Malformed);
        }
        let header = header.trim_matches([' ', '\t']);
        let (scheme, parameters) = header.split_once([' ', '\t']).ok_or(HeaderError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("X-Matrix") {
            return Err(HeaderError::Scheme);
        }
        let [mut origin, mut destination, mut key_id, mut signature] = [const { None::<String> }; 4];
        let mut scanner = Scanner { rest: parameters };
        while let Some((name, value)) = scanner.parameter()? {
            let slot = match name.to_ascii_lowercase().as_str() {
                "origin" => &mut origin,
                "destination" => &mut destination,
                "key" => &mut key_id,
                "sig" => &mut signature,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(HeaderError::Repeated);
            }
        }
        let server = |name, text: String| parse_server_name(&text).map_err(|_| HeaderError::Value(name));
        let key_id = key_id.ok_or(HeaderError::Missing("key"))?;
        if !is_key_id(&key_id) {
            return Err(HeaderError::Value("key"));
        }
        Ok(Self {
            origin: server("origin", origin.ok_or(HeaderError::Missing("origin"))?)?,
            destination: destination.map(|text| server("destination", text)).transpose()?,
            key_id,
            signature: signature.ok_or(HeaderError::Missing("sig"))?,
        })
    }

    /// The value of a header: names in lower case, values quoted, no space around commas.
    #[must_use]
    pub fn print(&self) -> HeaderValue {
        let mut text = format!("X-Matrix origin=\"{}\",", self.origin);
        if let Some(destination) = &self.destination {
            text += &format!("destination=\"{destination}\",");
        }
        text += &format!("key=\"{}\",sig=\"{}\"", self.key_id, self.signature);
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("X-Matrix"))
    }
}

/// True if a text has the form of a key ID.
#[must_use]
pub fn is_key_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,".contains(&byte);
    text.len() <= MAX_KEY_ID
        && text.bytes().all(allowed)
        && text
            .split_once(':')
            .is_some_and(|(algorithm, version)| !algorithm.is_empty() && !version.is_empty())
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// The next parameter with its value.
    fn parameter(&mut self) -> Result<Option<(&'a str, String)>, HeaderError> {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (name, rest) = self.rest.split_once('=').ok_or(HeaderError::Malformed)?;
        let name = name.trim_end_matches([' ', '\t']);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(HeaderError::Malformed);
        }
        self.rest = rest.trim_start_matches([' ', '\t']);
        let value = match self.rest.strip_prefix('"') {
            Some(rest) => {
                self.rest = rest;
                self.quoted()?
            }
            None => {
                let end = self.rest.find([',', ' ', '\t']).unwrap_or(self.rest.len());
                let (value, rest) = self.rest.split_at(end);
                if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') {
                    return Err(HeaderError::Malformed);
                }
                self.rest = rest;
                value.to_owned()
            }
        };
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        if !self.rest.is_empty() && !self.rest.starts_with(',') {
            return Err(HeaderError::Malformed);
        }
        Ok(Some((name, value)))
    }

    /// The rest of a quoted value.
    fn quoted(&mut self) -> Result<String, HeaderError> {
        let mut value = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[index + 1..];
                    return Ok(value);
                }
                '\\' => value.push(characters.next().ok_or(HeaderError::Malformed)?.1),
                character if character.is_ascii_control() && character != '\t' => {
                    return Err(HeaderError::Malformed);
                }
                character => value.push(character),
            }
        }
        Err(HeaderError::Malformed)
    }
}

#[cfg(test)]
mod tests;
