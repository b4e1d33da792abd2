// Sends one offline event and waits until Kafka has it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

type event struct {
	ApplicationID  int            `json:"application_id"`
	ProfileID      string         `json:"profile_id"`
	EventName      string         `json:"event_name"`
	EventTimestamp int64          `json:"event_timestamp"` // seconds
	EventJSON      map[string]any `json:"event_json,omitempty"`
}

func main() {
	servers := os.Getenv("KAFKA_BOOTSTRAP_SERVERS")
	if servers == "" {
		servers = "localhost:9092"
	}
	// Idempotent and acks=all without being asked: nothing lost, nothing written twice by a retry.
	client, err := kgo.NewClient(kgo.SeedBrokers(servers), kgo.ProducerLinger(20*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	user := "user-7"
	value, err := json.Marshal(event{
		ApplicationID:  1111,
		ProfileID:      user,
		EventName:      "film_watched",
		EventTimestamp: time.Now().Unix(),
		EventJSON:      map[string]any{"film": "Solaris", "minutes": 42},
	})
	if err != nil {
		log.Fatal(err)
	}
	record := &kgo.Record{
		Topic: "offline-events",
		Key:   []byte(user), // one user, one partition
		Value: value,
		// Made once per event, kept for every retry.
		Headers: []kgo.RecordHeader{{Key: "event-id", Value: []byte(uuid.NewString())}},
	}
	if err := client.ProduceSync(context.Background(), record).FirstErr(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("written to partition %d at offset %d\n", record.Partition, record.Offset)
}
