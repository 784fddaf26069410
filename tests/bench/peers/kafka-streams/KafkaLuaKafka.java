import com.fasterxml.jackson.core.StreamWriteFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/**
 * The work of kafka_lua_kafka.yaml by Kafka Streams, with exact decimals: at least once, one thread, an idempotent producer
 * that waits for all replicas. Batches, linger and commit interval are what the other subjects have; its own defaults
 * (16 kB, 100 ms, 30 s) would be slower or later. Until SIGTERM.
 */
public final class KafkaLuaKafka {
    private static final BigDecimal LOWEST = new BigDecimal("1040"), OTHER = new BigDecimal("3050");
    private static final BigDecimal HUNDRED = new BigDecimal("100");
    private static final Map<String, BigDecimal> EXPECTED = Map.of("ETH-USD", new BigDecimal("3000"), "BTC-USD",
            new BigDecimal("2900"), "LINK-USD", new BigDecimal("3100"));
    private static final ObjectMapper JSON = JsonMapper.builder()
            .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
            .disable(JsonNodeFeature.STRIP_TRAILING_BIGDECIMAL_ZEROES)
            .enable(StreamWriteFeature.WRITE_BIGDECIMAL_AS_PLAIN)
            .build();

    /** The record that goes on, or null: filtered. */
    private static byte[] deviation(byte[] value) {
        try {
            ObjectNode record = (ObjectNode) JSON.readTree(value);
            BigDecimal price = new BigDecimal(record.get("price").asText());
            if (price.compareTo(LOWEST) < 0) {
                return null;
            }
            JsonNode pair = record.get("pair");
            BigDecimal reference = EXPECTED.getOrDefault(pair.asText(), OTHER);
            BigDecimal percent = price.subtract(reference).multiply(HUNDRED).divide(reference, 4, RoundingMode.HALF_EVEN);
            record.put("deviation_pct", percent.toPlainString());
            record.remove("debug");
            return JSON.writeValueAsBytes(record);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static Properties properties() {
        Properties found = new Properties();
        found.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getenv("GROUP"));
        found.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("BROKERS"));
        found.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE);
        found.put(StreamsConfig.STATE_DIR_CONFIG, "kafka-streams");   // of the working directory; it stays empty
        found.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        found.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        found.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        found.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 2000);
        found.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
        found.put(StreamsConfig.producerPrefix(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG), true);
        found.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
        found.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 1_000_000);
        return found;
    }

    public static void main(String[] arguments) {
        StreamsBuilder builder = new StreamsBuilder();
        var bytes = Serdes.ByteArray();
        builder.stream(System.getenv("IN_TOPIC"), Consumed.with(bytes, bytes))
                .mapValues(KafkaLuaKafka::deviation)
                .filter((key, value) -> value != null)
                .to(System.getenv("OUT_TOPIC"), Produced.with(bytes, bytes));
        KafkaStreams streams = new KafkaStreams(builder.build(), properties());
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
