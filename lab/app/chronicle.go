package app

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/failoverd/failoverd/lab/ledger"
)

// Documents is where workers write into MongoDB: database and collection.
var Documents = [2]string{"app", "documents"}

// chronicle writes a document into MongoDB every now and then, as long as the worker may work, and writes down in the ledger which of
// them a majority has acknowledged. Messages do not wait for it. It ends with ctx.
func (w *worker) chronicle(ctx context.Context, hosts []string) {
	o := options.Client().SetHosts(hosts).SetReplicaSet("rs0").SetHeartbeatInterval(500 * time.Millisecond).SetServerSelectionTimeout(w.scale(10 * time.Second))
	c, err := mongo.Connect(o)
	if err != nil {
		w.Log.Error("MongoDB", "err", err)
		return
	}
	defer func() { _ = c.Disconnect(context.WithoutCancel(ctx)) }()
	docs := c.Database(Documents[0]).Collection(Documents[1], options.Collection().SetWriteConcern(writeconcern.Majority()))
	for n := 1; ctx.Err() == nil; n++ {
		pause(ctx, w.scale(2*time.Second))
		if _, active := w.active(ctx); !active {
			continue
		}
		key := fmt.Sprintf("%s/%d", w.Task, n)
		wctx, cancel := context.WithTimeout(ctx, w.scale(20*time.Second))
		_, err := docs.InsertOne(wctx, bson.D{{Key: "_id", Value: key}, {Key: "region", Value: w.Region}})
		cancel()
		if err != nil {
			w.Log.Warn("MongoDB", "key", key, "err", err)
			continue
		}
		if err := w.ledger.Write(ledger.Event{Type: ledger.Stored, Region: w.Region, Key: key}); err != nil {
			return
		}
	}
}
