//! Reads the metadata of a page: its `meta` elements and its title, without building a tree.

use std::collections::BTreeMap;

/// Elements that are looked at, and longest text of a title.
const MAX_ELEMENTS: usize = 20_000;
const MAX_TITLE: usize = 1_000;
/// Properties that are told.
const MAX_PROPERTIES: usize = 40;

/// Reads the properties of a page, as [Open Graph](https://ogp.me/) names them.
pub(super) fn read(page: &[u8], content_type: Option<&str>) -> BTreeMap<String, String> {
    let text = decode(page, content_type);
    let mut told = BTreeMap::new();
    let mut fallbacks = BTreeMap::new();
    // As long as the text, byte by byte, and made once.
    let lower = text.to_ascii_lowercase();
    let mut rest = &text[..];
    for _ in 0..MAX_ELEMENTS {
        let Some(at) = rest.find('<') else { break };
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let name: String = rest.chars().take(8).take_while(char::is_ascii_alphanumeric).collect();
        match name.to_ascii_lowercase().as_str() {
            "meta" => {
                let (attributes, after) = attributes(&rest[name.len()..]);
                rest = after;
                note(&attributes, &mut told, &mut fallbacks);
            }
            "title" if !fallbacks.contains_key("og:title") => {
                let after = rest.find('>').map_or("", |end| &rest[end + 1..]);
                let end = after.find('<').unwrap_or(after.len());
                let title = clean(&after[..end]);
                if !title.is_empty() {
                    fallbacks.insert("og:title".to_owned(), title.chars().take(MAX_TITLE).collect());
                }
                rest = &after[end..];
            }
            // What stands in them is no markup.
            "script" | "style" => {
                let end = format!("</{}", name.to_ascii_lowercase());
                let at = text.len() - rest.len();
                rest = lower[at..].find(&end).map_or("", |end| &rest[end..]);
            }
            _ => {}
        }
    }
    for (name, text) in fallbacks {
        told.entry(name).or_insert(text);
    }
    told
}

/// Notes what a `meta` element says.
fn note(
    attributes: &BTreeMap<String, String>,
    told: &mut BTreeMap<String, String>,
    fallbacks: &mut BTreeMap<String, String>,
) {
    let name = attributes.get("property").or_else(|| attributes.get("name"));
    let (Some(name), Some(content)) = (name, attributes.get("content")) else { return };
    let (name, content) = (name.to_ascii_lowercase(), clean(content));
    if content.is_empty() || told.len() >= MAX_PROPERTIES {
        return;
    }
    if name.starts_with("og:") && name.len() <= 64 {
        told.entry(name).or_insert(content);
        return;
    }
    let known = match name.as_str() {
        "twitter:title" => "og:title",
        "twitter:description" | "description" => "og:description",
        "twitter:image" | "twitter:image:src" => "og:image",
        _ => return,
    };
    fallbacks.entry(known.to_owned()).or_insert(content);
}

/// Reads the attributes of an element, and what stands after it.
fn attributes(element: &str) -> (BTreeMap<String, String>, &str) {
    let mut attributes = BTreeMap::new();
    let mut rest = element;
    loop {
        rest = rest.trim_start_matches(|character: char| character.is_whitespace() || character == '/');
        if rest.is_empty() {
            return (attributes, rest);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (attributes, after);
        }
        let end = rest
            .find(|character: char| character.is_whitespace() || matches!(character, '=' | '>' | '/'))
            .unwrap_or(rest.len());
        // A lone `=` is a name that nobody asks for.
        let end = if end == 0 { rest.chars().next().map_or(0, char::len_utf8) } else { end };
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let Some(value) = rest.strip_prefix('=') else { continue };
        let value = value.trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let value = &value[1..];
                let end = value.find(quote).unwrap_or(value.len());
                (&value[..end], value.get(end + 1..).unwrap_or(""))
            }
            _ => {
                let end = value
                    .find(|character: char| character.is_whitespace() || character == '>')
                    .unwrap_or(value.len());
                (&value[..end], &value[end..])
            }
        };
        if attributes.len() < 16 {
            attributes.entry(name).or_insert_with(|| value.to_owned());
        }
        rest = after;
    }
}

/// Text without entities and with single spaces.
fn clean(text: &str) -> String {
    let mut clear = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        clear.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.char_indices().take(10).find(|(_, character)| *character == ';') {
            Some((end, _)) if entity(&rest[..end]).is_some() => {
                clear.extend(entity(&rest[..end]));
                rest = &rest[end + 1..];
            }
            Some(_) | None => clear.push('&'),
        }
    }
    clear.push_str(rest);
    clear.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn entity(name: &str) -> Option<char> {
    let number = name.strip_prefix('#');
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let number = number?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|character| !character.is_control())
        }
    }
}

/// Reads UTF-8, or what says that it is Latin-1, byte by byte.
fn decode(page: &[u8], content_type: Option<&str>) -> String {
    let head = String::from_utf8_lossy(&page[..page.len().min(1_024)]).to_ascii_lowercase();
    let says = |name: &str| {
        content_type.is_some_and(|value| value.to_ascii_lowercase().contains(name)) || head.contains(name)
    };
    if says("iso-8859-1") || says("windows-1252") {
        return page.iter().copied().map(char::from).collect();
    }
    String::from_utf8_lossy(page).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_say_what_they_are() {
        let page = r#"<!DOCTYPE html><html><head><!-- <meta property="og:title" content="no"> -->
            <script>document.write('<meta property="og:title" content="no">')</script>
            <title> The &amp; title </title><meta name=description content="Of &#x2615; all">
            <META PROPERTY='og:Type' CONTENT='article'/><meta property="og:image" content="/a.png">
            <meta property="og:type" content="second"></head>"#;
        let told = read(page.as_bytes(), None);
        let expected = [
            ("og:title", "The & title"),
            ("og:description", "Of \u{2615} all"),
            ("og:type", "article"),
            ("og:image", "/a.png"),
        ];
        assert_eq!(told.len(), 4, "{told:?}");
        for (name, text) in expected {
            assert_eq!(told[name], text, "{name}");
        }
        assert_eq!(
            read(b"<title>caf\xe9</title>", Some("text/html; charset=iso-8859-1"))["og:title"],
            "caf\u{e9}"
        );
    }

    #[test]
    fn nothing_harms_whoever_reads() {
        for page in [
            "".to_owned(),
            "<".repeat(500_000),
            "<meta ".repeat(80_000),
            "<meta a=\"".to_owned() + &"b".repeat(400_000),
            "<title>".repeat(70_000),
            "<meta = = =>".repeat(10_000),
            "<div>".repeat(100_000),
            "&".repeat(500_000),
            "<script>".to_owned() + &"<".repeat(400_000),
            "<meta property=\"og:a\" content=\"b\">".repeat(10_000),
            "<script></script>".repeat(30_000),
        ] {
            let begun = std::time::Instant::now();
            read(page.as_bytes(), None);
            assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{}", &page[..page.len().min(20)]);
        }
    }
}
