//! The grammar of label selectors in text: `app in (a,b),!old,tier=web`.

use super::{Operator, Requirement, SelectorError};
use crate::names;

/// Requirements in the order of the text.
pub fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    Parser { tokens: scan(text), at: 0 }.parse()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    End,
    Close,
    Comma,
    Not,
    Binary(Operator, &'static str),
    Word(String),
    Open,
    Bad(String),
}

impl Token {
    /// How a message names it.
    fn text(&self) -> &str {
        match self {
            Self::End => "",
            Self::Close => ")",
            Self::Comma => ",",
            Self::Not => "!",
            Self::Binary(_, text) => text,
            Self::Word(word) => word,
            Self::Open => "(",
            Self::Bad(why) => why,
        }
    }
    /// The word that it is where values or keys stand: `in` and `notin` are words there.
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Binary(Operator::In | Operator::NotIn, text) => Some(text),
            _ => None,
        }
    }
}

fn is_symbol(c: char) -> bool {
    "=!(),><".contains(c)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn scan(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() && !rest.starts_with('\0') {
        let (token, length) = if rest.starts_with(is_symbol) { scan_symbol(rest) } else { scan_word(rest) };
        tokens.push(token);
        rest = rest[length..].trim_start_matches(is_blank);
    }
    tokens.push(Token::End);
    tokens
}

fn scan_symbol(rest: &str) -> (Token, usize) {
    let two = rest.get(..2).unwrap_or_default();
    match two {
        "==" => return (Token::Binary(Operator::DoubleEquals, "=="), 2),
        "!=" => return (Token::Binary(Operator::NotEquals, "!="), 2),
        _ => {}
    }
    let token = match &rest[..1] {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "=" => Token::Binary(Operator::Equals, "="),
        ">" => Token::Binary(Operator::GreaterThan, ">"),
        "<" => Token::Binary(Operator::LessThan, "<"),
        "(" => Token::Open,
        other => Token::Bad(format!("error expected: keyword found '{other}'")),
    };
    (token, 1)
}

fn scan_word(rest: &str) -> (Token, usize) {
    let length = rest.find(|c| is_symbol(c) || is_blank(c) || c == '\0').unwrap_or(rest.len());
    let token = match &rest[..length] {
        "in" => Token::Binary(Operator::In, "in"),
        "notin" => Token::Binary(Operator::NotIn, "notin"),
        word => Token::Word(word.to_owned()),
    };
    (token, length)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

type Parsed<T> = Result<T, SelectorError>;

impl Parser {
    fn parse(mut self) -> Parsed<Vec<Requirement>> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(requirements),
                token if token.word().is_some() || *token == Token::Not => {}
                token => return Err(found(token, ", expected: !, identifier, or 'end of string'")),
            }
            let requirement = self.requirement().map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?;
            requirements.push(requirement);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Comma if self.peek().word().is_some() || *self.peek() == Token::Not => {}
                Token::Comma => return Err(found(self.peek(), ", expected: identifier after ','")),
                token => return Err(found(&token, ", expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Parsed<Requirement> {
        let negated = *self.peek() == Token::Not;
        if negated {
            self.next();
        }
        let token = self.next();
        let Some(key) = token.word().map(str::to_owned) else { return Err(found(&token, ", expected: identifier")) };
        let faults = names::qualified_name(&key);
        if !faults.is_empty() {
            return Err(SelectorError(format!("<nil>: Invalid value: {key:?}: {}", faults.join("; "))));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = match self.next() {
            Token::Binary(operator, _) => operator,
            token => return Err(found(&token, ", expected: in, notin, =, ==, !=, gt, lt")),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.value_set()?,
            _ => vec![self.exact_value()?],
        };
        values.sort();
        values.dedup();
        Requirement::new(key, operator, values)
    }

    fn exact_value(&mut self) -> Parsed<String> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(String::new());
        }
        let token = self.next();
        token.word().map(str::to_owned).ok_or_else(|| found(&token, ", expected: identifier"))
    }

    fn value_set(&mut self) -> Parsed<Vec<String>> {
        let token = self.next();
        if token != Token::Open {
            return Err(found(&token, " expected: '('"));
        }
        match self.peek().clone() {
            Token::Close => {
                self.next();
                Ok(vec![String::new()])
            }
            token if token.word().is_some() || token == Token::Comma => {
                let values = self.value_list()?;
                if self.next() != Token::Close {
                    return Err(found(&token, ", expected: ')'"));
                }
                Ok(values)
            }
            token => Err(found(&token, ", expected: ',', ')' or identifier")),
        }
    }

    /// Stops before the closing parenthesis. Empty places between commas are empty values.
    fn value_list(&mut self) -> Parsed<Vec<String>> {
        let mut values = Vec::new();
        loop {
            let token = self.next();
            if let Some(word) = token.word() {
                values.push(word.to_owned());
                match self.peek() {
                    Token::Comma => {}
                    Token::Close => return Ok(values),
                    other => return Err(found(other, ", expected: ',' or ')'")),
                }
            } else if token == Token::Comma {
                if values.is_empty() || *self.peek() == Token::Comma {
                    values.push(String::new());
                }
                if *self.peek() == Token::Close {
                    values.push(String::new());
                    return Ok(values);
                }
            } else {
                return Err(found(&token, ", expected: ',', or identifier"));
            }
        }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }
    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }
}

fn found(token: &Token, expected: &str) -> SelectorError {
    SelectorError(format!("found '{}'{expected}", token.text()))
}
