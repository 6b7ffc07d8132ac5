import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Writes a message to Kafka with the options of Airavata 0.17 (KafkaAppender). Arguments: HOST:PORT, topic, message. */
class KafkaWriter {
    public static void main(String[] arguments) throws Exception {
        Properties options = new Properties();
        options.put("bootstrap.servers", arguments[0]);
        options.put("acks", "0");
        options.put("retries", 0);
        options.put("batch.size", 16384);
        options.put("linger.ms", 100); // there 10000: a batch each ten seconds
        options.put("producer.type", "async");
        for (String one : new String[] {"key.serializer", "value.serializer"})
            options.put(one, "org.apache.kafka.common.serialization.StringSerializer");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(options)) {
            producer.send(new ProducerRecord<>(arguments[1], arguments[2])).get();
        }
        System.out.println("sent");
    }
}
