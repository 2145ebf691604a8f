"""Each endpoint but answers: models, embeddings, moderations, feedback, stored responses."""
