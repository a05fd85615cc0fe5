// A driver of KafkaJS: see ../driver.py for what a driver is.
'use strict'

const readline = require('readline')
const { randomUUID } = require('crypto')
const { ZstdCodec } = require('zstd-codec')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
const lz4 = require('lz4js')

const FROM_START = -2
const FROM_END = -1

const kafka = new Kafka({ clientId: 'kafkajs', brokers: [process.argv[2]], logLevel: logLevel.NOTHING })
const admin = kafka.admin()

// Codecs that KafkaJS leaves to its users.
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => independent(Buffer.from(lz4.compress(encoder.buffer))),
  decompress: async buffer => Buffer.from(lz4.decompress(buffer)),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async buffer => Buffer.from((await zstd).decompress(buffer)),
})

// independent says of an LZ4 frame that its blocks do not depend on each other,
// which Kafka asks for, and which is true of the one block that up to 4 MiB are.
function independent(frame) {
  frame[4] = 0x60 // version 1, independent blocks
  frame[6] = 0x73 // the header's checksum with this and blocks of 4 MiB
  return frame
}

const zstd = new Promise(resolve => ZstdCodec.run(z => resolve(new z.Streaming())))

const types = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
}

const unpack = text => (text === null ? null : Buffer.from(text, 'base64'))
const pack = data => (data === null || data === undefined ? null : Buffer.from(data).toString('base64'))

// KafkaJS gives headers as an object, in which a name that comes twice has a list.
function fromHeaders(headers) {
  const list = []
  for (const [name, values] of Object.entries(headers || {})) {
    for (const value of [].concat(values)) list.push([name, pack(value)])
  }
  return list
}

function toHeaders(headers) {
  const object = {}
  for (const [name, value] of headers || []) {
    if (name in object) object[name] = [].concat(object[name], unpack(value))
    else object[name] = unpack(value)
  }
  return object
}

// follow begins to consume a topic and gives what has come on demand.
async function follow(topic, group, fromBeginning, seek) {
  const consumer = kafka.consumer({
    groupId: group, sessionTimeout: 60000, heartbeatInterval: 500, rebalanceTimeout: 30000,
    maxWaitTimeInMs: 100, maxBytesPerPartition: 16 << 20, maxBytes: 64 << 20, retry: { retries: 20, maxRetryTime: 1000 },
  })
  const come = []
  let wake = () => {}
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message: m }) => {
      come.push({
        partition, offset: Number(m.offset), time: Number(m.timestamp), key: pack(m.key), value: pack(m.value), headers: fromHeaders(m.headers),
      })
      wake()
    },
  })
  if (seek !== undefined) consumer.seek({ topic, partition: 0, offset: String(seek) })
  const poll = async milliseconds => {
    if (come.length === 0) {
      let timer
      await new Promise(resolve => {
        wake = resolve
        timer = setTimeout(resolve, milliseconds)
      })
      clearTimeout(timer)
    }
    return come.splice(0)
  }
  return { consumer, poll }
}

let member // of a group: what follow gave, its topic, and what to commit by partition

const operations = {
  async create({ topic, partitions, config }) {
    const configEntries = Object.entries(config || {}).map(([name, value]) => ({ name, value }))
    const created = await admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }] })
    if (!created) throw new Error(`there is a topic ${topic}`)
  },
  async partitions({ topic }) {
    const { topics } = await admin.fetchTopicMetadata()
    const found = topics.find(t => t.name === topic)
    return found ? found.partitions.length : 0
  },
  async add_partitions({ topic, total }) {
    await admin.createPartitions({ topicPartitions: [{ topic, count: total }] })
  },
  async config({ topic, name }) {
    const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
    return resources[0].configEntries.find(e => e.configName === name).configValue
  },
  async set_config({ topic, name, value }) {
    await admin.alterConfigs({ validateOnly: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }] }] })
  },
  async remove({ topic }) {
    await admin.deleteTopics({ topics: [topic] })
  },
  async delete_records({ topic, before }) {
    // It asks for the offsets of all partitions first, and gives up when one has no leader yet.
    for (let left = 50; ; left--) {
      try {
        return await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: String(before) }] })
      } catch (e) {
        if (!e.retriable || left === 0) throw e
        await new Promise(resolve => setTimeout(resolve, 100))
      }
    }
  },
  async describe() {
    return (await admin.describeCluster()).brokers.length
  },

  async produce({ topic, codec, records, idempotent }) {
    const producer = kafka.producer({ idempotent: Boolean(idempotent), maxInFlightRequests: 1 })
    await producer.connect()
    try {
      await producer.send({
        topic, acks: -1, compression: types[codec],
        messages: records.map(r => ({ key: unpack(r.key), value: unpack(r.value), partition: 0, timestamp: String(r.time), headers: toHeaders(r.headers) })),
      })
    } finally {
      await producer.disconnect()
    }
  },
  async consume({ topic, start, count }) {
    const seek = start >= 0 ? start : undefined
    const { consumer, poll } = await follow(topic, `none-${randomUUID()}`, start !== FROM_END, seek)
    const records = []
    while (records.length < count) records.push(...await poll(1000))
    await consumer.disconnect()
    return records.slice(0, count)
  },
  async bounds({ topic }) {
    const first = (await admin.fetchTopicOffsets(topic)).find(o => o.partition === 0)
    return [Number(first.low), Number(first.high)]
  },
  async offset_at({ topic, when }) {
    const first = (await admin.fetchTopicOffsetsByTimestamp(topic, when)).find(o => o.partition === 0)
    return Number(first.offset)
  },

  async join({ group, topic }) {
    member = { topic, next: {}, ...await follow(topic, group, true) }
  },
  async poll() {
    const records = await member.poll(200)
    for (const r of records) member.next[r.partition] = r.offset + 1
    return records
  },
  async commit() {
    const offsets = Object.entries(member.next).map(([partition, offset]) => ({ topic: member.topic, partition: Number(partition), offset: String(offset) }))
    await member.consumer.commitOffsets(offsets)
    member.next = {}
  },
  async leave() {
    await member.consumer.disconnect()
  },
}

async function serve() {
  await admin.connect()
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { op, ...parameters } = JSON.parse(line)
    let answer
    try {
      answer = { result: await operations[op](parameters) }
    } catch (e) {
      answer = { error: e.stack, too_large: e.type === 'MESSAGE_TOO_LARGE' || (e.cause && e.cause.type === 'MESSAGE_TOO_LARGE') || false }
    }
    process.stdout.write(JSON.stringify(answer) + '\n')
  }
  process.exit(0)
}

serve()
