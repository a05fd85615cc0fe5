//! A driver of rskafka, a client in Rust that speaks the protocol itself and has
//! neither groups nor settings: see ../../driver.py for what a driver is.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::DateTime;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};
use serde_json::{Value, json};

const FROM_START: i64 = -2;
const FROM_END: i64 = -1;
const MILLISECONDS: i32 = 60_000;

type Outcome = Result<Value, Box<dyn std::error::Error>>;

fn unpack(text: &Value) -> Option<Vec<u8>> {
    text.as_str().map(|t| STANDARD.decode(t).expect("base64"))
}

fn pack(data: &Option<Vec<u8>>) -> Value {
    data.as_ref().map_or(Value::Null, |d| json!(STANDARD.encode(d)))
}

fn to_record(r: &Value) -> Record {
    let headers = r["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    Record {
        key: unpack(&r["key"]),
        value: unpack(&r["value"]),
        headers: headers.iter().map(|h| (h[0].as_str().unwrap().to_owned(), unpack(&h[1]).unwrap_or_default())).collect::<BTreeMap<_, _>>(),
        timestamp: DateTime::from_timestamp_millis(r["time"].as_i64().unwrap()).unwrap(),
    }
}

fn from_record(r: &RecordAndOffset) -> Value {
    let headers: Vec<Value> = r.record.headers.iter().map(|(name, value)| json!([name, pack(&Some(value.clone()))])).collect();
    json!({
        "partition": 0, "offset": r.offset, "time": r.record.timestamp.timestamp_millis(),
        "key": pack(&r.record.key), "value": pack(&r.record.value), "headers": headers,
    })
}

fn codec(name: &str) -> Compression {
    match name {
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => Compression::NoCompression,
    }
}

struct Driver {
    client: Client,
}

impl Driver {
    async fn partition(&self, topic: &str) -> Result<PartitionClient, Error> {
        self.client.partition_client(topic, 0, UnknownTopicHandling::Retry).await
    }

    async fn answer(&self, request: &Value) -> Outcome {
        let topic = request["topic"].as_str().unwrap_or_default();
        let number = |name: &str| request[name].as_i64().unwrap_or_default();
        Ok(match request["op"].as_str().unwrap_or_default() {
            "create" => {
                self.client.controller_client()?.create_topic(topic, number("partitions") as i32, 1, MILLISECONDS).await?;
                Value::Null
            }
            "partitions" => {
                let topics = self.client.list_topics().await?;
                json!(topics.iter().find(|t| t.name == topic).map_or(0, |t| t.partitions.len()))
            }
            "remove" => {
                self.client.controller_client()?.delete_topic(topic, MILLISECONDS).await?;
                Value::Null
            }
            "delete_records" => {
                self.partition(topic).await?.delete_records(number("before"), MILLISECONDS).await?;
                Value::Null
            }
            "produce" => {
                let records = request["records"].as_array().unwrap().iter().map(to_record).collect();
                self.partition(topic).await?.produce(records, codec(request["codec"].as_str().unwrap())).await?;
                Value::Null
            }
            "consume" => self.consume(topic, number("start"), number("count") as usize).await?,
            "bounds" => {
                let p = self.partition(topic).await?;
                json!([p.get_offset(OffsetAt::Earliest).await?, p.get_offset(OffsetAt::Latest).await?])
            }
            "offset_at" => {
                let when = DateTime::from_timestamp_millis(number("when")).unwrap();
                json!(self.partition(topic).await?.get_offset(OffsetAt::Timestamp(when)).await?)
            }
            other => return Err(format!("there is no {other}").into()),
        })
    }

    async fn consume(&self, topic: &str, start: i64, count: usize) -> Outcome {
        let p = self.partition(topic).await?;
        let mut next = match start {
            FROM_START => p.get_offset(OffsetAt::Earliest).await?,
            FROM_END => p.get_offset(OffsetAt::Latest).await?,
            offset => offset,
        };
        let mut records = Vec::new();
        while records.len() < count {
            let (come, _) = p.fetch_records(next, 1..16 << 20, 100).await?;
            if let Some(last) = come.last() {
                next = last.offset + 1;
            }
            records.extend(come.iter().map(from_record));
        }
        records.truncate(count);
        Ok(Value::Array(records))
    }
}

fn too_large(e: &(dyn std::error::Error + 'static)) -> bool {
    matches!(e.downcast_ref::<Error>(), Some(Error::ServerError { protocol_error: ProtocolError::MessageTooLarge, .. }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = std::env::args().nth(1).expect("the address of a broker");
    let driver = Driver { client: ClientBuilder::new(vec![broker]).build().await? };
    for line in std::io::stdin().lock().lines() {
        let answer = match driver.answer(&serde_json::from_str(&line?)?).await {
            Ok(result) => json!({ "result": result }),
            Err(e) => json!({ "error": format!("{e}"), "too_large": too_large(&*e) }),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
