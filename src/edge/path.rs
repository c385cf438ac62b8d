//! What a client asks for, in its one canonical form: key of the cache, input of every policy and path that goes upstream, all three
//! the same text, so that nobody can be let through for one thing and be given another.
//!
//! A target is read as bytes, as the client sent it. Nothing is normalised: what is not canonical is refused, with the one exception
//! that the go command itself makes necessary. It sends `%21` for the exclamation mark of an escaped capital letter, other clients send
//! the mark, and both are the same request.

use std::fmt;

use crate::gomod::{InvalidModulePath, ModulePath, Query, Tile, Version};

/// The longest target. Twice what the longest real module path with a pseudo-version takes.
pub const TARGET_MAX: usize = 1024;

/// What follows a database in a path where more than one element does.
const LOOKUP: &str = "lookup";
const TILE: &str = "tile";

/// What the go command sends for an exclamation mark.
const ESCAPED_MARK: &str = "%21";

/// A path of the GOPROXY protocol. Its text, by `Display`, is the canonical one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestPath {
    /// Something of a module.
    Module {
        /// Which module.
        module: ModulePath,
        /// What of it.
        item: Item,
    },
    /// Something of a checksum database.
    Sums {
        /// Where it is.
        database: DatabaseName,
        /// What of it.
        item: SumsItem,
    },
}

/// What is asked of a module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// The list of its versions.
    List,
    /// Its newest version.
    Latest,
    /// What a branch, a commit or part of a version stands for now.
    Info(Query),
    /// A file of a version, which never changes.
    File(Version, File),
}

/// A file of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// Version and time, as JSON.
    Info,
    /// The go.mod file.
    Mod,
    /// The source.
    Zip,
}

/// What is asked of a checksum database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SumsItem {
    /// Whether this proxy passes requests on to the database.
    Supported,
    /// The newest signed tree.
    Latest,
    /// The record of a module's version.
    Lookup(ModulePath, Version),
    /// A part of the tree.
    Tile(Tile),
}

/// Where a checksum database is: a host name in small letters, which is its name where nobody said more; and a port and a path where its
/// address has them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseName(String);

/// How long an answer stays true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// For ever: a good answer may be kept as long as there is room.
    Immutable,
    /// Until somebody pushes.
    Mutable,
}

/// Why a target is refused. Every one of them is answered with 400, and with this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Longer than [`TARGET_MAX`].
    #[error("the path is longer than {TARGET_MAX} bytes")]
    Long,
    /// A control byte, a byte beyond ASCII, or one that no path of the protocol has.
    #[error("byte 0x{byte:02x} at position {position} has no place in a module proxy's path")]
    Byte {
        /// Which byte.
        byte: u8,
        /// Where.
        position: usize,
    },
    /// A percent sign that is not part of `%21`.
    #[error("the path has an escape other than %21 at position {0}: write the character itself")]
    Percent(usize),
    /// No slash at the start.
    #[error("the path does not begin with a slash")]
    Relative,
    /// `//`, or a slash at the end.
    #[error("the path has an empty element: use single slashes, and none at the end")]
    EmptyElement,
    /// `.` or `..`.
    #[error("the path has the element . or .., which is never followed")]
    DotElement,
    /// Not of the protocol.
    #[error(
        "the path is none of a module proxy: expected MODULE/@v/list, MODULE/@latest, MODULE/@v/VERSION.info, .mod or .zip, or /sumdb/NAME/..."
    )]
    Unknown,
    /// The `@` of `@v` or `@latest` is there twice.
    #[error("the path has more than one element that begins with @")]
    SecondMarker,
    /// The module path is wrong.
    #[error(transparent)]
    Module(#[from] InvalidModulePath),
    /// The version is neither a version nor what a branch or a commit may be called.
    #[error("the version is neither canonical, such as v1.2.3, nor the escaped name of a branch, tag or commit")]
    Version,
    /// A file of what is no version.
    #[error(
        "only .info can be asked of a branch, tag, commit or a version that the module path cannot have: ask for that, and then for the version it names"
    )]
    FileOfQuery,
    /// No database has this name.
    #[error(
        "a checksum database is named by a host name in small letters, with the port and the path of its address if it has any"
    )]
    Database,
    /// A path below a database that it does not have.
    #[error(
        "a checksum database has /supported, /latest, /lookup/MODULE@VERSION and /tile/... only, each in its one spelling"
    )]
    Sums,
}

impl RequestPath {
    /// Reads a request target as a client sent it.
    pub fn parse(target: &[u8]) -> Result<Self, Refusal> {
        Self::from_canonical(&decode(target)?)
    }

    fn from_canonical(path: &str) -> Result<Self, Refusal> {
        let path = path.strip_prefix('/').ok_or(Refusal::Relative)?;
        for element in path.split('/') {
            match element {
                "" => return Err(Refusal::EmptyElement),
                "." | ".." => return Err(Refusal::DotElement),
                _ => {}
            }
        }
        if let Some(rest) = path.strip_prefix("sumdb/") {
            return sums(rest);
        }
        let (module, rest) = path.split_once("/@").ok_or(Refusal::Unknown)?;
        if rest.contains("/@") {
            return Err(Refusal::SecondMarker);
        }
        let module = ModulePath::from_escaped(module)?;
        let item = match rest {
            "latest" => Item::Latest,
            "v/list" => Item::List,
            _ => file(&module, rest.strip_prefix("v/").ok_or(Refusal::Unknown)?)?,
        };
        Ok(Self::Module { module, item })
    }

    /// The module that is spoken of, if any: what rules about modules go by.
    pub fn module(&self) -> Option<&ModulePath> {
        match self {
            Self::Module { module, .. } | Self::Sums { item: SumsItem::Lookup(module, _), .. } => Some(module),
            Self::Sums { item: SumsItem::Supported | SumsItem::Latest | SumsItem::Tile(_), .. } => None,
        }
    }

    /// The version that is spoken of, if it is one.
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Module { item: Item::File(version, _), .. }
            | Self::Sums { item: SumsItem::Lookup(_, version), .. } => Some(version),
            Self::Module { item: Item::List | Item::Latest | Item::Info(_), .. }
            | Self::Sums { item: SumsItem::Supported | SumsItem::Latest | SumsItem::Tile(_), .. } => None,
        }
    }

    /// How long a good answer stays true. A record of the database never changes, and neither does a tile: the signed
    /// tree that a record comes with may be an old one, which clients expect.
    pub fn freshness(&self) -> Freshness {
        match self {
            Self::Module { item: Item::File(..), .. }
            | Self::Sums { item: SumsItem::Lookup(..) | SumsItem::Tile(_), .. } => Freshness::Immutable,
            Self::Module { item: Item::List | Item::Latest | Item::Info(_), .. }
            | Self::Sums { item: SumsItem::Supported | SumsItem::Latest, .. } => Freshness::Mutable,
        }
    }
}

impl fmt::Display for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module { module, item } => {
                write!(f, "/{}/@", module.escaped())?;
                match item {
                    Item::List => f.write_str("v/list"),
                    Item::Latest => f.write_str("latest"),
                    Item::Info(query) => write!(f, "v/{}.info", query.escaped()),
                    Item::File(version, file) => write!(f, "v/{}.{}", version.escaped(), file.extension()),
                }
            }
            Self::Sums { database, item } => {
                write!(f, "/sumdb/{database}/")?;
                match item {
                    SumsItem::Supported => f.write_str("supported"),
                    SumsItem::Latest => f.write_str("latest"),
                    SumsItem::Lookup(module, version) => write!(f, "lookup/{}@{}", module.escaped(), version.escaped()),
                    SumsItem::Tile(tile) => write!(f, "{tile}"),
                }
            }
        }
    }
}

impl File {
    /// What follows the last dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Mod => "mod",
            Self::Zip => "zip",
        }
    }
}

impl DatabaseName {
    /// Where it is, in its one spelling. What begins the name of something in it is no part of that.
    pub fn parse(text: &str) -> Option<Self> {
        let (authority, path) = text.split_once('/').map_or((text, None), |(authority, path)| (authority, Some(path)));
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let label = |label: &str| {
            let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
            !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
        };
        let port_fits = port.is_none_or(|port| {
            !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        });
        let element = |element: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~+-".contains(&byte);
            !matches!(element, "" | "." | ".." | LOOKUP | TILE) && element.bytes().all(plain)
        };
        let path_fits = path.is_none_or(|path| path.split('/').all(element));
        let fits = host.len() <= 253 && host.split('.').all(label) && port_fits && path_fits;
        fits.then(|| Self(text.to_owned()))
    }

    /// As it stands in a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The target as text, with every byte checked and the one accepted escape undone.
fn decode(target: &[u8]) -> Result<String, Refusal> {
    if target.len() > TARGET_MAX {
        return Err(Refusal::Long);
    }
    // The address of a database may have a port.
    let colon = target.starts_with(b"/sumdb/");
    let expected = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!@+".contains(&byte) || (colon && byte == b':');
    let mut path = String::with_capacity(target.len());
    let mut position = 0;
    while let Some(byte) = target.get(position).copied() {
        if byte == b'%' {
            let escape = target.get(position..position + ESCAPED_MARK.len());
            if escape != Some(ESCAPED_MARK.as_bytes()) {
                return Err(Refusal::Percent(position));
            }
            path.push('!');
            position += ESCAPED_MARK.len();
        } else if expected(byte) {
            path.push(char::from(byte));
            position += 1;
        } else {
            return Err(Refusal::Byte { byte, position });
        }
    }
    Ok(path)
}

fn file(module: &ModulePath, name: &str) -> Result<Item, Refusal> {
    let (stem, extension) = name.rsplit_once('.').ok_or(Refusal::Unknown)?;
    let file = match extension {
        "info" => File::Info,
        "mod" => File::Mod,
        "zip" => File::Zip,
        _ => return Err(Refusal::Unknown),
    };
    if let Some(version) = Version::from_escaped(stem).filter(|version| version.fits(module)) {
        return Ok(Item::File(version, file));
    }
    let query = Query::from_escaped(stem).ok_or(Refusal::Version)?;
    if file == File::Info { Ok(Item::Info(query)) } else { Err(Refusal::FileOfQuery) }
}

fn sums(path: &str) -> Result<RequestPath, Refusal> {
    let marks = [LOOKUP, TILE].map(|mark| path.find(&format!("/{mark}/")));
    let end = marks.into_iter().flatten().min().or_else(|| path.rfind('/')).ok_or(Refusal::Sums)?;
    let (database, rest) = (&path[..end], &path[end + 1..]);
    let database = DatabaseName::parse(database).ok_or(Refusal::Database)?;
    let item = match rest {
        "supported" => SumsItem::Supported,
        "latest" => SumsItem::Latest,
        _ => match rest.strip_prefix(LOOKUP).and_then(|rest| rest.strip_prefix('/')) {
            Some(asked) => lookup(asked)?,
            None => SumsItem::Tile(Tile::parse(rest).ok_or(Refusal::Sums)?),
        },
    };
    Ok(RequestPath::Sums { database, item })
}

fn lookup(asked: &str) -> Result<SumsItem, Refusal> {
    let (module, version) = asked.split_once('@').ok_or(Refusal::Sums)?;
    let module = ModulePath::from_escaped(module)?;
    let version = Version::from_escaped(version).filter(|version| version.fits(&module)).ok_or(Refusal::Version)?;
    Ok(SumsItem::Lookup(module, version))
}

#[cfg(test)]
mod tests;
